package http1

import "strings"

// chunkRow is one body in chunks.
type chunkRow struct {
	body  string // the bytes that are counted
	rest  string // what follows them: a fault, or what is behind the end
	fault *Fault
	done  bool
}

// chunkRows returns all bodies of the tables. What has ended is followed by something else, too.
func chunkRows() (rows []chunkRow) {
	for _, body := range endedBodies {
		for _, rest := range []string{"", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "\r\n", "0\r\n\r\n", "\x00"} {
			if len(body) < 1000 || len(rest) != 1 && len(rest) != 2 {
				rows = append(rows, chunkRow{body, rest, nil, true})
			}
		}
	}
	for _, body := range unfinishedBodies {
		rows = append(rows, chunkRow{body, "", nil, false})
	}
	for fault, bodies := range faultyBodies {
		for _, body := range bodies {
			rows = append(rows, chunkRow{body[0], body[1], fault, false})
		}
	}
	return rows
}

// a is a string of n letters.
func a(n int) string { return strings.Repeat("a", n) }

const (
	hello   = "5\r\nhello\r\n"
	trailer = "a:\r\n"
)

// extended is a chunk of one byte whose line with the size has n bytes, without CRLF.
func extended(n int) string { return "1;" + a(n-2) + "\r\nx\r\n" }

// endedBodies are good, and whole.
var endedBodies = []string{
	"0\r\n\r\n", "000\r\n\r\n", "000000000000000\r\n\r\n", hello + "0\r\n\r\n", "00005\r\nhello\r\n0\r\n\r\n", hello + hello + "0\r\n\r\n",
	"a\r\n0123456789\r\n0\r\n\r\n", "A\r\n0123456789\r\n0\r\n\r\n", "1A\r\n" + a(26) + "\r\nfF\r\n" + a(255) + "\r\n00\r\n\r\n",
	"9\r\n" + a(9) + "\r\n8\r\n" + a(8) + "\r\nb\r\n" + a(11) + "\r\nB\r\n" + a(11) + "\r\nf0\r\n" + a(240) + "\r\nE\r\n" + a(14) + "\r\n0\r\n\r\n",
	"2\r\n\r\n\r\n0\r\n\r\n", "5\r\n0\r\n\r\n\r\n0\r\n\r\n", "3\r\n\x00\n\xff\r\n0\r\n\r\n", strings.Repeat("1\r\n\r\r\n", 100) + "0\r\n\r\n", "1000\r\n" + a(4096) + "\r\n0\r\n\r\n",

	"5;a\r\nhello\r\n0\r\n\r\n", "5;a=b\r\nhello\r\n0\r\n\r\n", "5;a=\"b c;d,\\e\"\r\nhello\r\n0\r\n\r\n", "5;\r\nhello\r\n0\r\n\r\n", "5;;a;b\r\nhello\r\n0\r\n\r\n",
	"5; \ta = b \r\nhello\r\n0\r\n\r\n", "5;\xc3\xa9\r\nhello\r\n0\r\n\r\n", "0;a=b\r\n\r\n", hello + "000;0\r\n\r\n", extended(1023) + "0;" + a(1021) + "\r\n\r\n",
	strings.Repeat(extended(1023), 16) + extended(288) + "0;" + a(1021) + "\r\n\r\n",                                      // 16 KiB that are not data
	strings.Repeat(extended(1023), 16) + "2001\r\n" + a(8193) + "\r\n" + strings.Repeat(extended(1023), 16) + "0\r\n\r\n", // and data that make up for them
	strings.Repeat("5;a=b\r\nhello\r\n", 300) + "0\r\n\r\n",

	"0\r\nX-A: b\r\n\r\n", "0\r\nX-A:\r\nx_b:\tc\xff \r\n\r\n", hello + "0\r\nX:b:c\r\nX:\r\n\r\n", "0\r\nContent-Length: 5\r\n\r\n",
	"0;a\r\n!#$%&'*+-.^_`|~09aZ:(\"\r\n\r\n", "0\r\nX:" + a(4090) + "\r\n\r\n", hello + "0\r\n" + strings.Repeat(trailer, 1022) + "a:bb\r\n\r\n",
}

// unfinishedBodies are the beginning of a good one.
var unfinishedBodies = []string{
	"", "5", "5;", "5\r", "5;a\r", "5\r\n", "5\r\nhel", "5\r\nhello", "5\r\nhello\r", hello, hello + "0", hello + "0\r", hello + "0\r\n", hello + "0\r\n\r", "0\r\nX", "0\r\nX:", "0\r\nX: a\r",
	"0\r\nX: a\r\n", "0\r\nX: a\r\n\r", "fffffffffffffff\r\nhello\r\n0\r\n\r\n", "000000000000006\r\nhello", "0\r\nX:" + a(4093), "1;" + a(1022),
}

// faultyBodies are the bytes before the fault, and those from it on.
var faultyBodies = map[*Fault][][2]string{
	errChunkSize: {
		{"", "\r\n"}, {"", "\n"}, {"", " 5\r\nhello"}, {"", "\t5\r\n"}, {"", "+5\r\n"}, {"", "-5\r\n"}, {"", "-0\r\n"}, {"", "_5\r\n"}, {"5", "_0\r\n"}, {"0", "x5\r\n"}, {"0", "X5\r\n"}, {"", "x5\r\n"},
		{"", "$5\r\n"}, {"5", " \r\n"}, {"5", "\t\r\n"}, {"5", " ;a\r\n"}, {"", ";a\r\n"}, {"", "g\r\n"}, {"", "G\r\n"}, {"5", "g\r\n"}, {"5", "h\r\n"}, {"", "@\r\n"}, {"", "`\r\n"}, {"", "/\r\n"}, {"", ":\r\n"},
		{"", "\"5\"\r\n"}, {"5", ".0\r\n"}, {"5", ",5\r\n"}, {"5", "=a\r\n"}, {"5", "\x00\r\n"}, {"", "\x00"}, {"5", "\x0b\r\n"}, {"", "\xff"}, {"", "\xef\xbc\x95\r\n"}, {"5", "\xa0\r\n"},
		{"5", "\nhello\n0\n\n"}, {"5\r", "hello\r0\r\r"}, {"5\r", "\r\n"}, {"5\r", ";a\r\n"}, {"5;a\r", "b\r\n"}, {"5;a\r", "\r\n"}, {"0\r", "0\r\n"}, {"0", "\n\n"},
		{"000000000000000", "0\r\n\r\n"}, {"fffffffffffffff", "f\r\n"}, {"100000000000000", "00000005\r\nhello"}, {"800000000000000", "0\r\n"}, {"000000000000000", "5\r\nhello"},
		{hello, "\r\n"}, {hello, "\n"}, {hello, " 0\r\n\r\n"}, {hello, "x"}, {hello, "\x00"}, {hello, ";\r\n"}, {hello + "0", "x\r\n"},
	},
	errExtension: {
		{"5;a", "\nhello\r\n0\r\n\r\n"}, {"5;", "\n"}, {"5;a=\"", "\n\""}, {"5;", "\x00\r\n"}, {"5;a", "\x7f\r\n"}, {"5;a", "\x1b\r\n"}, {"5;a=", "\x0b"}, {"0;a", "\n\r\n"}, {hello + "5;a", "\x01"},
		{"1;" + a(1022), "\r\nx\r\n"}, {"1;" + a(1022), a(64<<10) + "\r\nx\r\n"}, {"0;" + a(1022), "\r\n\r\n"}, {"00000;" + a(1018), a(1)}, {"1;\"" + a(1021), "\"\r\n"},
		{strings.Repeat(extended(1023), 16) + "1;" + a(287), "\r\nx\r\n0\r\n\r\n"}, {"4000\r\n" + a(1<<14) + "\r\n" + strings.Repeat(extended(1023), 16) + "1;" + a(287), "\r\nx\r\n0\r\n\r\n"}, {strings.Repeat(extended(1023), 17)[:16*1028+1023], "\r\nx\r\n0\r\n\r\n"},
		{strings.Repeat(extended(1023), 16) + "1000\r\n" + a(4096) + "\r\n" + strings.Repeat(extended(1023), 8) + "1;" + a(479+17), "\r\nx\r\n0\r\n\r\n"},
	},
	errChunkEnd: {
		{"5\r\nhello", "\n0\r\n\r\n"}, {"5\r\nhello", "X\r\n"}, {"5\r\nhello", "0\r\n\r\n"}, {"5\r\nhello", " \r\n"}, {"5\r\nhello", ";\r\n"}, {"5\r\nhello\r", "X"}, {"5\r\nhello\r", "\r\n"}, {"5\r\nhello\r", "0\r\n"},
		{"3\r\nhel", "lo\r\n0\r\n\r\n"}, {"6\r\nhello\r", "\n0\r\n\r\n"}, {"7\r\nhello\r\n", "0\r\n\r\n"}, {"a\r\n0123456789", "a\r\n"}, {hello + "1\r\nx", "\n"}, {"5;a\r\nhello", "\x00"},
	},
	errTrailerLine: {
		{"0\r\n", "\n"}, {"0\r\n\r", "\r\n"}, {"0\r\n\r", "x"}, {"0\r\n", " X: a\r\n"}, {"0\r\n", "\tX: a\r\n"}, {"0\r\n", ": a\r\n"}, {"0\r\nX", " : a\r\n"}, {"0\r\nX", "\t: a\r\n"}, {"0\r\nX", "\r\n\r\n"}, {"0\r\nX", "\n"},
		{"0\r\nX: a", "\n\r\n"}, {"0\r\nX: a\r", "x"}, {"0\r\nX: a\r", "\r\n"}, {"0\r\nX: a\r\n", " b\r\n"}, {"0\r\nX: a\r\n", "\tb\r\n"}, {"0\r\nX: a\r\n", "\n"}, {"0\r\nX: a\r\n", ": b\r\n"}, {"0\r\nX: a\r\n\r", "X"},
		{"0\r\nX: a", "\x00\r\n"}, {"0\r\nX: a", "\x7f\r\n"}, {"0\r\nX:", "\x0b\r\n"}, {"0\r\n", "\"X\": a\r\n"}, {"0\r\nX", "(y): a\r\n"}, {"0\r\n", "\xc3\xa9: a\r\n"}, {"0\r\n", "\x00"}, {"0\r\nGET", " / HTTP/1.1\r\n"},
		{"0\r\nX", "=a\r\n"}, {"0;a\r\n", "\n"}, {hello + "0\r\n", "\n"},
	},
	errLongTrailers: {
		{"0\r\nX:" + a(4093), "a\r\n\r\n"}, {"0\r\n" + a(4095), ":\r\n\r\n"}, {"0\r\nX:" + a(4091) + "\r\n", "\r\n"}, {"0\r\nX:" + a(4092) + "\r\n", "\r\n"}, {"0\r\nX:" + a(4093), "\r\n\r\n"},
		{hello + "0\r\n" + strings.Repeat(trailer, 1023) + "a:b", "\r\n\r\n"}, {"0\r\n" + strings.Repeat(trailer, 1024), "\r\n"}, {"0\r\n" + strings.Repeat(trailer, 1023) + "a:b", a(64 << 10)}, {"0;a\r\nX:" + a(4093), a(64 << 10)},
	},
}
