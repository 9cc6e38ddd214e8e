// Reads all pages of an API through token-sidecar, and prints each: client.mjs ROUTE TARGET PATH [SUBJECT].
import { setTimeout as sleep } from "node:timers/promises";

const sidecar = process.env.TOKEN_SIDECAR_URL ?? "http://127.0.0.1:8080";
const timeout = 20_000; // milliseconds for one request
const patience = 30_000; // milliseconds that one page may take with all attempts
const maxPages = 100;

// Asks again where the answer says when, as long as that is soon enough. Not to be used for POST.
async function get(path, headers) {
  const end = Date.now() + patience;
  for (;;) {
    const answer = await fetch(sidecar + path, { headers, redirect: "manual", signal: AbortSignal.timeout(timeout) });
    const wait = answer.headers.get("Retry-After") ?? "";
    const later = Math.max(1, Number(wait)) * 1000;
    if (![429, 503].includes(answer.status) || !/^\d+$/.test(wait) || Date.now() + later > end) return answer;
    await answer.body?.cancel();
    await sleep(later);
  }
}

// Tells a problem document of the sidecar, which has a stable code, from an error of the API.
async function failure(answer) {
  if (answer.headers.get("Content-Type")?.startsWith("application/problem+json")) {
    const { code, detail } = await answer.json();
    if (code) return new Error(`${code}: ${detail}`);
  }
  return new Error(`the API answered ${answer.status}`);
}

async function main(route, target, path, subject) {
  const headers = subject ? { "X-Token-Subject": subject } : {};
  for (let page = 0; page < maxPages; page++) {
    const answer = await get(`/${route}${path}`, headers);
    if (answer.status !== 200) throw await failure(answer);
    const text = await answer.text();
    console.log(text);
    const link = JSON.parse(text).next;
    if (!link) return;
    // The link names the API itself. What stands behind the target goes behind the route.
    if (!link.startsWith(target + "/")) throw new Error("the next page is not at the target");
    path = link.slice(target.length);
  }
  throw new Error("there are too many pages");
}

try {
  await main(...process.argv.slice(2));
} catch (error) {
  const noAnswer = error.name === "TimeoutError" || error instanceof TypeError; // as fetch throws them
  console.error(noAnswer ? `no usable answer: ${error.name}` : error.message);
  process.exitCode = 1;
}
