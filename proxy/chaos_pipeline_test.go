package proxy

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// sizes are lengths of heads, and of heads with bodies, around the borders of buffers: leanConn's
// and bufio's of 4 KiB, and the bound on heads of 64 KiB.
var sizes = []int{4095, 4096, 4097, 5000, 8191, 8192, 8193, 60 << 10, 64<<10 - 1, 64 << 10}

// bodySizes are lengths of bodies around the bound of those that are kept.
var bodySizes = []int{4 << 10, 4<<10 + 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 80_000}

// mixedAsks are 100 requests of many kinds. The first half is plain and fits leanConn's buffer.
func mixedAsks(name string, random *rand.Rand) (asks []ask) {
	for i := range 100 {
		id := fmt.Sprintf("%s-%d", name, i)
		small := strings.Repeat("s", 1+random.IntN(300))
		switch kind := random.IntN(8); {
		case kind < 2:
			asks = append(asks, newAsk("GET", "/alpha/x", id, ""))
		case kind == 2:
			asks = append(asks, newAsk("HEAD", "/alpha/x", id, ""))
		case kind == 3:
			asks = append(asks, newAsk("POST", "/alpha/x", id, small))
		case kind == 4 || i < 50: // head and body fill the buffer, or nearly so
			asks = append(asks, newAsk("PUT", "/alpha/x", id, small).fillTo(4096-random.IntN(3)))
		case kind == 5:
			asks = append(asks, newAsk("PUT", "/alpha/x", id, strings.Repeat("l", bodySizes[random.IntN(len(bodySizes))])))
		case kind == 6:
			asks = append(asks, newAsk("GET", "/alpha/x", id, "").fillTo(sizes[random.IntN(len(sizes))]))
		default:
			asks = append(asks, newAsk("PATCH", "/alpha/x", id, small, "X_Odd: 1").fillTo(sizes[random.IntN(len(sizes))]))
		}
	}
	return asks
}

// pipelined sends asks in pieces, without waiting for answers, and fails the test unless each gets
// its own, in their order, up to the last on the connection.
func (s *side) pipelined(t *testing.T, asks []ask, random *rand.Rand) (rest []ask) {
	c := dialRaw(t, s.addr)
	text := ""
	for _, a := range asks {
		text += a.text
	}
	var all sync.WaitGroup
	defer all.Wait()
	defer c.Close()
	all.Go(func() { writeInPieces(c, text, random) })
	for i, a := range asks {
		if wrong := a.wrong(c.read(a.method)); wrong != "" {
			t.Errorf("request %d: %s", i, wrong)
			return nil
		}
		if a.last {
			if !c.closed() {
				t.Errorf("request %d: more comes behind the last answer", i)
			}
			return asks[i+1:]
		}
	}
	again := newAsk("GET", "/alpha/x", asks[0].id+"-again", "")
	all.Wait()
	c.write(again.text)
	if wrong := again.wrong(c.read("GET")); wrong != "" {
		t.Errorf("afterwards: %s", wrong)
	}
	return nil
}

// TestChaosPipelinedRequestsGetTheirOwnAnswers writes 100 requests at once, on 16 connections.
func TestChaosPipelinedRequestsGetTheirOwnAnswers(t *testing.T) {
	s := newSide(t, setup{})
	s.up.play(echo)
	conns := many(16)
	var all sync.WaitGroup
	for n := range conns {
		all.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(n)))
			s.pipelined(t, mixedAsks(fmt.Sprint("n", n), random), random)
		})
	}
	all.Wait()
	for _, r := range s.up.requests() {
		if n := len(r.header("x-id")); n != 1 {
			t.Errorf("the target saw %d ids: %q", n, r.lines)
		}
	}
	s.trusted(t)
	if n := len(s.up.requests()); n != 101*conns {
		t.Errorf("the target saw %d requests, want %d", n, 101*conns)
	}
}

// TestChaosNothingIsServedBehindALastAnswer has a request in chunks in the middle: its answer is the
// last, and nothing behind it reaches the target before the app sends it again.
func TestChaosNothingIsServedBehindALastAnswer(t *testing.T) {
	s := newSide(t, setup{})
	s.up.play(echo)
	random := rand.New(rand.NewPCG(2, 2))
	for n, size := range []int{1, 10, 4096, 65536} {
		asks := mixedAsks(fmt.Sprint("n", n), random)[:40]
		asks[20] = newChunkedAsk("POST", "/alpha/x", fmt.Sprintf("chunked-%d", n), strings.Repeat("c", 5000), size)
		before := len(s.up.requests())
		rest := s.pipelined(t, asks, random)
		if served := len(s.up.requests()) - before; served != 21 || len(rest) != 19 {
			t.Errorf("chunks of %d: the target saw %d requests, and %d are left", size, served, len(rest))
			continue
		}
		s.pipelined(t, rest, random)
	}
}

// TestChaosSizesAroundBordersPass sends a request of each size by itself, in one piece and in two.
func TestChaosSizesAroundBordersPass(t *testing.T) {
	s := newSide(t, setup{})
	s.up.play(echo)
	var asks []ask
	for i, size := range sizes {
		for _, body := range []string{"", "b", strings.Repeat("b", 2000)} {
			asks = append(asks, newAsk("PUT", "/alpha/x", fmt.Sprintf("head-%d-%d", i, len(body)), body).fillTo(size+len(body))) // the head alone
			if size < 60<<10 {
				asks = append(asks, newAsk("PUT", "/alpha/x", fmt.Sprintf("all-%d-%d", i, len(body)), body).fillTo(size))
			}
		}
	}
	for i, size := range bodySizes {
		asks = append(asks, newAsk("POST", "/alpha/x", fmt.Sprint("body-", i), strings.Repeat("b", size)))
	}
	for _, a := range asks {
		for _, first := range []int{len(a.text), 4095, 4096, 4097, len(a.text) - 1} {
			first = min(first, len(a.text))
			c := dialRaw(t, s.addr)
			go func() {
				c.write(a.text[:first])
				c.write(a.text[first:])
			}()
			if wrong := a.wrong(c.read(a.method)); wrong != "" {
				t.Errorf("%d bytes, %d at first: %.200s", len(a.text), first, wrong)
			}
			_ = c.Close()
		}
	}
}

// TestChaosLastAnswersSurviveWhatFollows: an app that has sent much behind the last request of its
// connection, which nobody reads, gets all of a long answer to that, though it reads slowly.
func TestChaosLastAnswersSurviveWhatFollows(t *testing.T) {
	const size = 4 << 20
	s := newSide(t, setup{})
	s.up.play(func(r *upRequest) bool {
		r.readBody()
		r.say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size) + strings.Repeat("a", size))
		return true
	})
	c := dialRaw(t, s.addr)
	c.write(newChunkedAsk("POST", "/alpha/x", "last", "body", 2).text + strings.Repeat(newAsk("GET", "/alpha/x", "never", "").text, 1000))
	got, piece := 0, make([]byte, 64<<10)
	for {
		n, err := c.Conn.Read(piece)
		got += n
		if err == io.EOF && got > size {
			break
		} else if err != nil {
			t.Fatalf("%d bytes, %v", got, err)
		}
		time.Sleep(time.Millisecond)
	}
	if n := len(s.up.requests()); n != 1 {
		t.Errorf("the target saw %d requests", n)
	}
}
