package tests

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// load reads compose.yaml as Docker Compose does, by the schema of the Compose specification.
func load(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{example + "/compose.yaml"}, cli.WithInterpolation(true), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestEveryContainerIsConfined(t *testing.T) {
	project := load(t)
	if len(project.Services) != 5 {
		t.Errorf("%d services", len(project.Services))
	}
	for name, s := range project.Services {
		switch {
		case !s.ReadOnly, s.Privileged, len(s.CapAdd) > 0, !slices.Equal(s.CapDrop, []string{"ALL"}),
			!slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"}):
			t.Errorf("%s is not confined", name)
		case s.User == "" || strings.HasPrefix(s.User, "0") || s.User == "root":
			t.Errorf("%s runs as user %q", name, s.User)
		case !regexp.MustCompile(`:v?\d+\.\d+`).MatchString(s.Image):
			t.Errorf("the image of %s, %s, has no version", name, s.Image)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("port %s of %s is published to the network", port.Published, name)
			}
		}
		for variable, value := range s.Environment {
			if strings.HasPrefix(variable, "SIDECAR_") && regexp.MustCompile("SECRET|URL|KEY").MatchString(variable) &&
				!strings.HasPrefix(*value, "/run/secrets/") {
				t.Errorf("%s has the value of %s in the environment", name, variable)
			}
		}
	}
}

// TestOnlyTheAppSharesTheNetwork holds what the page says about who reaches what.
func TestOnlyTheAppSharesTheNetwork(t *testing.T) {
	project := load(t)
	members := map[string][]string{}
	for name, s := range project.Services {
		if s.NetworkMode != "" {
			members[s.NetworkMode] = append(members[s.NetworkMode], name)
		}
		for network := range s.Networks {
			members[network] = append(members[network], name)
		}
	}
	for network, want := range map[string][]string{"service:pod": {"app", "token-sidecar"}, "outside": {"pod"}, "tokens": {"pod", "redis"},
		"monitoring": {"pod", "prometheus"}} {
		if slices.Sort(members[network]); !slices.Equal(members[network], want) {
			t.Errorf("%s has %q, want %q", network, members[network], want)
		}
	}
	if !project.Networks["tokens"].Internal {
		t.Error("the network of Redis leads outside")
	}
}

// TestHealthCheckIsThatOfTheImage compares with the Dockerfile, which has no other program.
func TestHealthCheckIsThatOfTheImage(t *testing.T) {
	s := load(t).Services["token-sidecar"]
	dockerfile := read(t, root+"/Dockerfile")
	if want := `ENTRYPOINT ["` + s.HealthCheck.Test[1] + `"]`; !strings.Contains(dockerfile, want) || s.HealthCheck.Test[0] != "CMD" {
		t.Errorf("the health check runs %q", s.HealthCheck.Test)
	}
	if !strings.Contains(dockerfile, "USER "+s.User+"\n") {
		t.Errorf("the image has another user than %s", s.User)
	}
	if dir, err := filepath.Abs(root); err != nil || s.Build.Context != dir {
		t.Errorf("the image is built in %s", s.Build.Context)
	}
}

func TestPrometheusTakesItsConfiguration(t *testing.T) {
	promtool, dir := tool(t, "promtool"), t.TempDir()
	for _, v := range load(t).Services["prometheus"].Volumes {
		if v.Type == types.VolumeTypeBind {
			write(t, filepath.Join(dir, filepath.Base(v.Target)), read(t, v.Source), 0o644)
		}
	}
	if out, err := exec.Command(promtool, "check", "config", filepath.Join(dir, "prometheus.yml")).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestExampleRunsTheVersionOfTheChart holds the two to one version, which a release sets in the chart.
func TestExampleRunsTheVersionOfTheChart(t *testing.T) {
	version := regexp.MustCompile(`(?m)^appVersion: (.+)$`).FindStringSubmatch(read(t, root+"/charts/token-sidecar/Chart.yaml"))[1]
	compose := read(t, example+"/compose.yaml")
	for _, want := range []string{"image: token-sidecar:" + version + "\n", "{VERSION: " + version + "}"} {
		if !strings.Contains(compose, want) {
			t.Errorf("compose.yaml has no %q", want)
		}
	}
}

// TestUserOfRedisHasTheRightsOfThePage compares docs/redis.md and the example: the user may do no more.
func TestUserOfRedisHasTheRightsOfThePage(t *testing.T) {
	rights := regexp.MustCompile("(?m)^(resetchannels resetkeys .*)$").FindStringSubmatch(read(t, root+"/docs/redis.md"))
	if rights == nil || !strings.Contains(read(t, example+"/make-secrets.sh"), "#$hash "+rights[1]+"\n") {
		t.Errorf("make-secrets.sh gives other rights than %q", rights)
	}
}

// stack is what the example starts, without containers.
type stack struct {
	project   *types.Project
	dir       string
	environ   []string // of the sidecar
	addresses map[string]string
}

// newStack makes the secrets, as the page says, in a copy of the folder.
func newStack(t *testing.T) *stack {
	t.Helper()
	s := &stack{project: load(t), dir: t.TempDir(), addresses: map[string]string{}}
	script := filepath.Join(s.dir, "make-secrets.sh")
	write(t, script, read(t, example+"/make-secrets.sh"), 0o755)
	for range 2 { // the second time it leaves all as it is
		if out, err := exec.Command(script).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	write(t, s.dir+"/secrets/oclc_wskey", "my-key\n", 0o644)
	write(t, s.dir+"/secrets/oclc_secret", "my-secret\n", 0o644)
	if info, err := os.Stat(s.dir + "/secrets"); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others can enter the folder of secrets: %v, %v", info.Mode(), err)
	}
	return s
}

// local returns text with the paths of secrets in a container replaced.
func (s *stack) local(text string) string {
	return strings.ReplaceAll(text, "/run/secrets/", s.dir+"/secrets/")
}

// startRedis runs the command of the service, on a free port.
func (s *stack) startRedis(t *testing.T) (address string) {
	t.Helper()
	path, port := tool(t, "redis-server"), freePort(t)
	var args []string
	for _, arg := range s.project.Services["redis"].Command[1:] {
		args = append(args, s.local(arg))
	}
	out := start(t, os.Environ(), path, append(args, "--port", port, "--bind", "127.0.0.1", "--dir", s.dir)...)
	eventually(t, "Redis is ready", func() string {
		if text := out.String(); !strings.Contains(text, "Ready to accept connections") {
			return "it says " + text
		}
		return ""
	})
	return "127.0.0.1:" + port
}

// startSidecar runs the sidecar with the environment of the service, and what leads to the simulations.
func (s *stack) startSidecar(t *testing.T, more ...string) {
	t.Helper()
	service := s.project.Services["token-sidecar"]
	for name, value := range service.Environment {
		if file, ok := strings.CutPrefix(*value, "/run/secrets/"); ok && !slices.ContainsFunc(service.Secrets,
			func(c types.ServiceSecretConfig) bool { return c.Source == file }) {
			t.Errorf("%s names %s, which the container does not get", name, file)
		}
		s.environ = append(s.environ, name+"="+s.local(strings.Replace(*value, ":9090", ":0", 1)))
	}
	s.environ = append(s.environ, more...)
	log := start(t, append(s.environ, "SIDECAR_LISTEN=127.0.0.1:0"), binary(t))
	eventually(t, "the sidecar is ready", func() string {
		if said := log.String(); strings.Contains(said, "the configuration has faults") {
			t.Fatal(said)
		}
		for line := range strings.Lines(log.String()) {
			var entry struct{ Message, Listener, Address string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Listener != "" {
				s.addresses[entry.Listener] = entry.Address
			}
			if entry.Message == "ready" {
				return ""
			}
		}
		return "it says " + log.String()
	})
}

// TestSidecarRunsAsInTheExample starts all but the containers and Prometheus.
func TestSidecarRunsAsInTheExample(t *testing.T) {
	s := newStack(t)
	redis, oclc := s.startRedis(t), provider(t, "my-key", "my-secret")
	url := read(t, s.dir+"/secrets/redis_url")
	write(t, s.dir+"/secrets/redis_url", strings.Replace(url, "@redis:6379", "@"+redis, 1), 0o644)
	s.startSidecar(t, "SIDECAR_OCLC_TOKEN_URL="+oclc+"/token", "SIDECAR_OCLC_TARGET="+oclc, "SIDECAR_OCLC_TARGETS=discovery="+oclc)

	t.Run("check finds nothing wrong, in Redis either", func(t *testing.T) {
		cmd := exec.Command(binary(t), "check")
		cmd.Env = s.environ
		out, err := cmd.CombinedOutput()
		if err != nil || !regexp.MustCompile(`(?m)^redis .* ok `).Match(out) {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("the app gets its answer", s.runApp)
	t.Run("the health check", s.healthCheck)
	t.Run("Prometheus may scrape", s.scrape)
	t.Run("Redis has no rights for others", func(t *testing.T) { s.askRedis(t, redis) })
}

// runApp runs the app's own command.
func (s *stack) runApp(t *testing.T) {
	app := s.project.Services["app"]
	if app.Environment["TOKEN_SIDECAR_URL"] == nil || *app.Environment["TOKEN_SIDECAR_URL"] != "http://127.0.0.1:8080" {
		t.Error("the app is not pointed at the sidecar's own address")
	}
	// What the loader leaves of $$ is what the program gets.
	out := start(t, []string{"TOKEN_SIDECAR_URL=http://" + s.addresses["data"]}, tool(t, app.Command[0]), app.Command[1:]...)
	const want = `{"path":"/worldcat/manage/bibs/1","token":"Bearer token-of-128807"}` + "\n"
	eventually(t, "the app prints what the API answers", func() string {
		if text := out.String(); !strings.HasPrefix(text, want) {
			return "it prints " + text
		}
		return ""
	})
}

// healthCheck runs the command of the health check beside the sidecar.
func (s *stack) healthCheck(t *testing.T) {
	_, port, _ := net.SplitHostPort(s.addresses["admin"])
	cmd := exec.Command(binary(t), s.project.Services["token-sidecar"].HealthCheck.Test[2:]...)
	cmd.Env = append(slices.Clone(s.environ), "SIDECAR_ADMIN_LISTEN=:"+port)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// scrape asks for metrics under the name that prometheus.yml has.
func (s *stack) scrape(t *testing.T) {
	target := regexp.MustCompile(`targets: \["([a-z-]+):9090"\]`).FindStringSubmatch(read(t, example+"/prometheus.yml"))
	if target == nil || len(s.project.Services[target[1]].Networks) == 0 {
		t.Fatal("prometheus.yml names no container of the example")
	}
	_, port, _ := net.SplitHostPort(s.addresses["admin"])
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://127.0.0.1:"+port+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = target[1] + ":9090"
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("/metrics answers %s with %d", req.Host, res.StatusCode)
	}
}

// askRedis says what the health check of Redis says, and looks at what is refused.
func (s *stack) askRedis(t *testing.T, address string) {
	_, port, _ := net.SplitHostPort(address)
	check := s.project.Services["redis"].HealthCheck.Test[1]
	if out, err := exec.Command("sh", "-c", strings.Replace(check, "redis-cli", tool(t, "redis-cli")+" -p "+port, 1)).CombinedOutput(); err != nil {
		t.Errorf("the health check: %v %s", err, out)
	}
	url := strings.TrimSpace(read(t, s.dir+"/secrets/redis_url"))
	for command, refused := range map[string]bool{"time": false, "get token-sidecar:x": false, "get other": true, "keys *": true, "config get *": true} {
		out, err := exec.Command("redis-cli", append([]string{"-u", url, "--no-auth-warning"}, strings.Fields(command)...)...).CombinedOutput()
		if err != nil || strings.Contains(string(out), "NOPERM") != refused {
			t.Errorf("%s: %v, %s", command, err, out)
		}
	}
}
