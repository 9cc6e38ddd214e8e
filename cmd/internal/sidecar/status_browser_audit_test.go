package sidecar

import (
	"fmt"
	"strings"
)

// auditScript returns what is wrong with the page as it is shown now: text with
// less contrast than 4.5:1 (WCAG 2.2, 1.4.3) or too small to read, times that break
// over two lines, and boxes that do not fit.
const auditScript = `(() => {
  const wrong = [];
  const rgba = text => { const n = text.match(/[\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const over = (top, under) => top.slice(0, 3).map((c, i) => c * top[3] + under[i] * (1 - top[3]));
  const light = c => c.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = e => {
    const layers = [];
    for (; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const shown = e => !e.closest('.unseen') && e.checkVisibility();
  let texts = 0;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, text = walk.currentNode.data.trim();
    if (!text || !shown(e)) continue;
    texts++;
    const style = getComputedStyle(e), under = ground(e);
    const a = light(over(rgba(style.color), under)), b = light(under);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) wrong.push('contrast ' + ratio.toFixed(2) + ': ' + text);
    if (parseFloat(style.fontSize) < 12) wrong.push(style.fontSize + ': ' + text);
  }
  if (texts < 50) wrong.push('only ' + texts + ' texts are shown');
  for (const e of document.querySelectorAll('time, .took')) if (e.getClientRects().length > 1) wrong.push('breaks: ' + e.textContent);
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) wrong.push('the page is ' + root.scrollWidth + ' px wide in ' + innerWidth);
  for (const e of document.body.querySelectorAll('*')) {
    if (!shown(e)) continue;
    const box = e.getBoundingClientRect(), name = e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 30);
    if (box.left < 0 || box.right > innerWidth + 0.5) wrong.push('sticks out: ' + name);
    if (getComputedStyle(e).display !== 'inline' && e.scrollWidth > e.clientWidth + 1) wrong.push('overflows: ' + name);
  }
  return wrong;
})()`

// structureScript returns what a screen reader's user would miss.
const structureScript = `(() => {
  const wrong = [], all = q => [...document.querySelectorAll(q)];
  if (!document.documentElement.lang) wrong.push('no language');
  if (!document.title) wrong.push('no title');
  if (all('h1').length !== 1) wrong.push(all('h1').length + ' h1');
  if (!document.querySelector('main')) wrong.push('no main');
  let level = 0;
  for (const h of all('h1, h2, h3, h4')) {
    const n = Number(h.tagName[1]);
    if (n > level + 1) wrong.push('heading skips a level: ' + h.textContent);
    level = n;
  }
  for (const t of all('table')) {
    if (!t.caption) wrong.push('a table without a caption');
    for (const h of t.querySelectorAll('th')) if (!h.scope || !h.textContent.trim()) wrong.push('a th without scope or text');
    for (const row of t.tBodies[0].rows) if (row.cells[0].tagName !== 'TH') wrong.push('a row without a header');
  }
  for (const e of all('[aria-labelledby]')) if (!document.getElementById(e.getAttribute('aria-labelledby'))) wrong.push('a label that is not there');
  const ids = all('[id]').map(e => e.id);
  if (new Set(ids).size !== ids.length) wrong.push('an id twice');
  if (all('script, iframe, object, form, [style], [onclick]').length) wrong.push('more than a page needs');
  return wrong;
})()`

// auditAll looks at the page at url in both schemes on a phone and on a desk, and
// keeps a picture of each.
func (b *browser) auditAll(name, url string) {
	b.t.Helper()
	b.open(url)
	for _, width := range []int{320, 390, 1280} {
		for _, scheme := range []string{"light", "dark"} {
			b.show(width, scheme)
			b.audit(fmt.Sprintf("%s-%d-%s", name, width, scheme))
		}
	}
}

func (b *browser) audit(name string) {
	b.t.Helper()
	for _, script := range []string{auditScript, structureScript} {
		var wrong []string
		b.eval(script, &wrong)
		if len(wrong) > 0 {
			b.t.Errorf("%s:\n%s", name, strings.Join(wrong, "\n"))
		}
	}
	b.screenshot(name + ".png")
}
