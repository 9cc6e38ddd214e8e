package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// bench is what all measurements share.
type bench struct {
	dir     string // for what is built and configured; removed at the end
	self    string // this program
	sidecar string // the program under test
	against string // another build of it; empty: none
	targets *targets
	tokens  *upstreamtest.Server // gives tokens that live for an hour
	short   *upstreamtest.Server // gives tokens that live for a second
}

// newBench builds the sidecar as a release is built and starts what stands
// behind it. The caller must close it.
func newBench(ctx context.Context) (*bench, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "token-sidecar-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{dir: dir, self: self, sidecar: filepath.Join(dir, "token-sidecar"),
		tokens: upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{Lifetime: time.Hour}),
		short:  upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{Lifetime: time.Second})}
	b.targets, err = startTargets(dir)
	if err == nil {
		err = testkit.Build(ctx, b.sidecar, "")
	}
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) close() {
	b.targets.close()
	b.tokens.Close()
	b.short.Close()
	_ = os.RemoveAll(b.dir)
}

// contender is one proxy that takes part.
type contender struct {
	name   string
	start  func(ctx context.Context, target string) (*proxyProcess, error)
	speaks func(target string) bool // nil: to all kinds of targets
}

const (
	bareName    = "ReverseProxy"
	againstName = "against"
)

// contenders returns those that are installed, and how to install the others.
func (b *bench) contenders() (all []contender, missing []string) {
	all = []contender{
		{name: "sidecar", start: func(ctx context.Context, target string) (*proxyProcess, error) {
			return b.startSidecar(ctx, b.sidecar, target, b.tokens)
		}},
		{name: bareName, start: b.startBare},
	}
	if b.against != "" {
		all = append(all, contender{name: againstName, start: func(ctx context.Context, target string) (*proxyProcess, error) {
			return b.startSidecar(ctx, b.against, target, b.tokens)
		}})
	}
	for _, other := range []struct {
		name, program string
		config        func(b *bench, listen, target string) string
		args          []string // the file of the configuration follows
		speaks        func(target string) bool
	}{
		{"nginx", "nginx", nginxConfig, []string{"-p", b.dir, "-c"},
			func(target string) bool { return target != tlsH2 }}, // HTTP/2 to a target is not in common versions
		{"HAProxy", "haproxy", haproxyConfig, []string{"-db", "-f"}, nil},
		{"Caddy", "caddy", caddyConfig, []string{"run", "--adapter", "caddyfile", "--config"}, nil},
	} {
		if path, err := exec.LookPath(other.program); err == nil {
			all = append(all, contender{other.name, b.starter(path, other.config, other.args...), other.speaks})
		} else {
			missing = append(missing, other.program)
		}
	}
	return all, missing
}

// startSidecar starts program, which is a sidecar, its log going to /dev/null.
func (b *bench) startSidecar(ctx context.Context, program, target string, tokens *upstreamtest.Server) (*proxyProcess, error) {
	data, err := freeAddress()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = b.environ(data, target, tokens)
	return startProxy(ctx, cmd, data, "/bench")
}

func (b *bench) environ(data, target string, tokens *upstreamtest.Server) []string {
	return []string{
		"SIDECAR_LISTEN=" + data, "SIDECAR_ADMIN_LISTEN=127.0.0.1:0", "SIDECAR_CA_FILE=" + b.targets.roots,
		"SIDECAR_OAUTH2_0_NAME=bench", "SIDECAR_OAUTH2_0_TARGET=" + b.targets.url(target),
		"SIDECAR_OAUTH2_0_TOKEN_URL=" + tokens.TokenURL(),
		"SIDECAR_OAUTH2_0_CLIENT_ID=" + tokens.ClientID(), "SIDECAR_OAUTH2_0_CLIENT_SECRET=" + tokens.ClientSecret(),
	}
}

func (b *bench) startBare(ctx context.Context, target string) (*proxyProcess, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, b.self, "-mode", "bare", "-listen", address,
		"-target", b.targets.url(target), "-roots", b.targets.roots)
	return startProxy(ctx, cmd, address, "")
}

// starter returns how to start a program whose configuration is a file named
// by its last argument.
func (b *bench) starter(program string, config func(b *bench, listen, target string) string, args ...string) func(context.Context, string) (*proxyProcess, error) {
	return func(ctx context.Context, target string) (*proxyProcess, error) {
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		file := filepath.Join(b.dir, filepath.Base(program)+".conf")
		if err := os.WriteFile(file, []byte(config(b, address, target)), 0o600); err != nil {
			return nil, err
		}
		return startProxy(ctx, exec.CommandContext(ctx, program, append(args, file)...), address, "")
	}
}

func nginxConfig(b *bench, listen, target string) string {
	scheme := "https"
	if target == plain {
		scheme = "http"
	}
	return fmt.Sprintf(`daemon off;
worker_processes auto;
pid %[1]s/nginx.pid;
error_log /dev/null;
events { worker_connections 4096; }
http {
  access_log /dev/null;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fcgi;
  uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  keepalive_requests 1000000000;
  upstream target { server %[2]s; keepalive 512; keepalive_requests 1000000000; }
  server {
    listen %[3]s;
    location / {
      proxy_pass %[4]s://target;
      proxy_http_version 1.1;
      proxy_buffer_size 16k; proxy_buffers 16 16k;
      proxy_set_header Connection "";
      proxy_set_header Host localhost;
      proxy_set_header Authorization "Bearer a-constant-token-of-the-usual-length-0123456789abcdef";
    }
  }
}
`, b.dir, b.targets.host(target), listen, scheme)
}

func haproxyConfig(b *bench, listen, target string) string {
	tls := map[string]string{plain: "", tlsH1: " ssl verify none alpn http/1.1", tlsH2: " ssl verify none alpn h2"}[target]
	return fmt.Sprintf(`global
  maxconn 4000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend front
  bind %s
  default_backend target
backend target
  http-request set-header Authorization "Bearer a-constant-token-of-the-usual-length-0123456789abcdef"
  server one %s%s
`, listen, b.targets.host(target), tls)
}

func caddyConfig(b *bench, listen, target string) string {
	transport := map[string]string{plain: "", tlsH1: "tls_trusted_ca_certs " + b.targets.roots + "\n      versions 1.1",
		tlsH2: "tls_trusted_ca_certs " + b.targets.roots + "\n      versions 2"}[target]
	_, port, _ := net.SplitHostPort(listen) // with a host in it, Caddy would serve no other
	return fmt.Sprintf(`{
  admin off
  log {
    output discard
  }
}
http://:%s {
  bind 127.0.0.1
  reverse_proxy %s {
    header_up Host localhost
    header_up Authorization "Bearer a-constant-token-of-the-usual-length-0123456789abcdef"
    transport http {
      keepalive_idle_conns_per_host 512
      %s
    }
  }
}
`, port, b.targets.url(target), transport)
}
