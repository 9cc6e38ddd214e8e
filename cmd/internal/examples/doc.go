// Package examples has no code of its own. Its tests run what is in docs/examples against the
// built program and the simulated providers. The one of Docker Compose has its tests in
// docs/examples/tests, a module of its own, since they read YAML.
package examples
