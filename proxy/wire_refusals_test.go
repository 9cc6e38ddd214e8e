package proxy

import (
	"testing"
	"testing/synctest"
)

// TestWireRefusalsDependOnTheirRequestAlone: a fragment behind a query is refused in each form of
// the target, a malformed chunk also if the app need not have sent it yet, and the problem of a request that
// cannot be read has a body, whatever the method of the one before.
//
// Case P17.
func TestWireRefusalsDependOnTheirRequestAlone(t *testing.T) {
	for i, row := range []wireRequest{
		malformed("a fragment behind a query", wireLine("GET /alpha/x?a#b HTTP/1.1")),
		malformed("a fragment behind a query in absolute-form", wireLine("GET http://{target}/x?a#b HTTP/1.1")),
		refused("a malformed first chunk behind Expect", wirePost("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", "0x5\r\nhello\r\n0\r\n\r\n"), 400, "body_incomplete"),
	} {
		t.Run(wireName(i, row.name), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { row.run(t, false) })
		})
	}
	t.Run("a malformed request behind HEAD", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSide(t, setup{pipes: &pipes{}})
			const head = "HEAD /alpha/x HTTP/1.1\r\n" + wireHost + "TE: trailers\r\n\r\n"
			got, _ := s.dial(s.addr).converse(head, "", "GET /alpha/x HTTP/1.1\n"+wireHost+"\r\n")
			_, rest, err := wireOne(got, "HEAD")
			if err != nil {
				t.Fatal(err)
			}
			answers, err := wireAnswers(rest, "GET")
			if err != nil || len(answers) != 1 || !answers[0].whole {
				t.Fatalf("the app got %q (%v)", got, err)
			}
			answers[0].problem(t, 400, "request_malformed")
		})
	})
}
