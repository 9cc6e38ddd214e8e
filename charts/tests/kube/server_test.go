package kube

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// startWithin bounds the start of both processes together, which takes seconds.
const startWithin = 3 * time.Minute

// server is a running kube-apiserver with its etcd, and clients of it.
type server struct {
	client    kubernetes.Interface
	dynamic   dynamic.Interface
	mapper    *restmapper.DeferredDiscoveryRESTMapper
	processes []*process
}

// startServer starts etcd and kube-apiserver with all their files in dir, and returns when
// requests are served. The caller has locked the thread, with which both would end.
func startServer(ctx context.Context, binary, dir string) (*server, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	s := &server{}
	config, err := s.start(binary, dir)
	if err == nil {
		err = s.connect(ctx, config)
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// start starts both processes and returns how the API server is reached.
func (s *server) start(binary, dir string) (*rest.Config, error) {
	program, err := exec.LookPath("etcd")
	if err != nil {
		return nil, errors.New("etcd is not installed (Debian package etcd-server); make kube installs it")
	}
	// etcd 3.4 takes a socket in its working directory only, whose name has the form of host and port.
	err = s.run(dir, program, "--name=kube", "--data-dir=etcd", "--logger=zap", "--log-level=error",
		"--listen-client-urls=unix://clients:1", "--advertise-client-urls=unix://clients:1",
		"--listen-peer-urls=unix://peers:1", "--initial-advertise-peer-urls=unix://peers:1",
		"--initial-cluster=kube=unix://peers:1")
	if err != nil {
		return nil, err
	}
	if err := writeKey(filepath.Join(dir, "account.key")); err != nil {
		return nil, err
	}
	token := rand.Text()
	if err := os.WriteFile(filepath.Join(dir, "tokens.csv"), []byte(token+",tests,1,system:masters\n"), 0o600); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	err = s.run(dir, binary, "--etcd-servers=unix://"+filepath.Join(dir, "clients:1"),
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port="+strconv.Itoa(port),
		"--cert-dir=certificates", // where it writes a certificate of its own making
		"--token-auth-file=tokens.csv", "--anonymous-auth=false", "--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=account.key", "--service-account-signing-key-file=account.key",
		"--service-cluster-ip-range=10.0.0.0/24",
		"--endpoint-reconciler-type=none") // an address on loopback cannot be an endpoint
	return &rest.Config{
		Host:            "https://127.0.0.1:" + strconv.Itoa(port),
		BearerToken:     token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(dir, "certificates", "apiserver.crt")},
		QPS:             -1, // no limit
	}, err
}

// connect waits until the server is ready and makes the clients.
func (s *server) connect(ctx context.Context, config *rest.Config) error {
	for {
		err := s.ready(ctx, config)
		if err == nil {
			return nil
		}
		for _, p := range s.processes {
			select {
			case <-p.ended:
				return fmt.Errorf("%s ended: %w\n%s", p.cmd, p.err, p.logged())
			default:
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kube-apiserver is not ready: %w\n%s", err, s.processes[len(s.processes)-1].logged())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// ready makes the clients, for which the certificate must be there, and asks once.
func (s *server) ready(ctx context.Context, config *rest.Config) (err error) {
	if s.client, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	if s.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return err
	}
	discovery := s.client.Discovery()
	s.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(discovery))
	return discovery.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

// stop ends the processes, kube-apiserver first, and waits for their ends. Nothing of theirs is
// kept, so they need not tidy up.
func (s *server) stop() {
	for i := len(s.processes) - 1; i >= 0; i-- {
		_ = s.processes[i].cmd.Process.Kill()
		<-s.processes[i].ended
	}
}

// process is a program that runs until stop.
type process struct {
	cmd   *exec.Cmd
	log   string        // path of the file with its output
	ended chan struct{} // closed when it has ended
	err   error         // why it ended; set before ended is closed
}

// run starts a program in dir.
func (s *server) run(dir, program string, args ...string) error {
	p := &process{cmd: exec.Command(program, args...), ended: make(chan struct{})}
	p.cmd.Dir = dir
	// It ends with the tests even if they end by a panic, or by go test's timeout.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.log = filepath.Join(dir, filepath.Base(program)+".log")
	log, err := os.Create(p.log)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	s.processes = append(s.processes, p)
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return nil
}

// logged returns the end of what the process has printed.
func (p *process) logged() []byte {
	text, _ := os.ReadFile(p.log)
	return text[max(0, len(text)-4000):]
}

// writeKey writes a key by which tokens of service accounts are signed.
func writeKey(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

// freePort returns a port of loopback: kube-apiserver does not take 0 for one.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
