// Package http1 reads HTTP/1.1 (RFC 9112) strictly: of what other readers might read in
// another way it takes nothing. It knows bytes and their grammar only, no connections, no
// routes and no tokens, and imports no other package of this module.
//
// The head of a request is one of three things:
//
//   - Plain: every reader reads it alike, and [Head] has all of it. Each line ends with CRLF.
//     The first is METHOD SP target SP "HTTP/1.1", where METHOD is GET, HEAD, POST, PUT, PATCH,
//     DELETE or OPTIONS, and the target begins with a slash and has visible ASCII characters
//     without "#" and "\", and no "%" in its path that escapes nothing. All others are
//     name ":" value, where the name is a token without underscore, and the value, with the
//     white space around it taken away, has visible ASCII characters, spaces and tabs. There is
//     one Host, of letters, digits and ".-_:[]". There is at most one Content-Length, of digits
//     without a leading zero. There is no Transfer-Encoding, Expect, Upgrade, Trailer or TE.
//   - Well-formed, but not plain: another method; HTTP/1.0, or HTTP/1.2 to 1.9; another form of
//     the target; names with underscores; values with bytes above 0x7F; a body in chunks;
//     "Expect: 100-continue"; an upgrade. net/http reads it and answers it, and does not refuse
//     it by itself.
//   - A [Fault]: whatever breaks the grammar of RFC 9112, and what that allows a server to
//     refuse. Such are an empty line in front of the request (section 2.2 would have one ignored,
//     but no client sends any), lines that end with LF alone, continued lines (obs-fold, section 5.2),
//     control characters, white space in front of a colon, Transfer-Encoding beside
//     Content-Length or in HTTP/1.0 (section 6.1), a Content-Length that is not one number
//     (section 6.3), and other codings than one of "chunked".
//
// The head of an answer is plain or not. It is plain if its status is one of 200 to 599 but 204,
// 205 and 304, its lines are as those of a plain request, with exactly one Content-Length, and it has
// no Transfer-Encoding, Upgrade or Trailer. All else is for net/http to read and to refuse.
//
// The files: http1.go has the bound that all share. answer.go reads the head of an answer, and
// head.go that of a request; fields.go judges those of its fields that say how it is to be read.
// chunks.go follows a body in chunks, fault.go says what is wrong, and class.go has the sets of
// characters.
package http1

// MaxHead is how many bytes the head of a request may have, with the empty line that ends it.
const MaxHead = 64 << 10
