// Command go reads all pages of an API through token-sidecar, and prints each: go run . ROUTE TARGET PATH [SUBJECT].
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	timeout  = 20 * time.Second // of one request
	patience = 30 * time.Second // that one page may take with all attempts
	maxPages = 100
)

var client = &http.Client{Timeout: timeout, Transport: &http.Transport{}, // no proxy: the sidecar is on this machine
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// get asks again where the answer says when, as long as that is soon enough. It is not for POST.
func get(path, subject string) (*http.Response, []byte, error) {
	req, err := http.NewRequest(http.MethodGet, cmp.Or(os.Getenv("TOKEN_SIDECAR_URL"), "http://127.0.0.1:8080")+path, nil)
	if err != nil {
		return nil, nil, err
	}
	if subject != "" {
		req.Header.Set("X-Token-Subject", subject)
	}
	for end := time.Now().Add(patience); ; {
		res, err := client.Do(req)
		if err != nil {
			return nil, nil, err
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		wait, noNumber := strconv.ParseUint(res.Header.Get("Retry-After"), 10, 16)
		later := time.Duration(max(1, wait)) * time.Second
		soon := noNumber == nil && time.Now().Add(later).Before(end)
		if err != nil || !soon || res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable {
			return res, body, err
		}
		time.Sleep(later)
	}
}

// failure tells a problem document of the sidecar, which has a stable code, from an error of the API.
func failure(res *http.Response, body []byte) error {
	var problem struct{ Code, Detail string }
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/problem+json") && json.Unmarshal(body, &problem) == nil && problem.Code != "" {
		return fmt.Errorf("%s: %s", problem.Code, problem.Detail)
	}
	return fmt.Errorf("the API answered %d", res.StatusCode)
}

// pages prints all pages from the one at path on.
func pages(route, target, path, subject string) error {
	for range maxPages {
		res, body, err := get("/"+route+path, subject)
		if err != nil {
			return fmt.Errorf("no usable answer: %w", err)
		}
		if res.StatusCode != http.StatusOK {
			return failure(res, body)
		}
		fmt.Printf("%s\n", body)
		var page struct{ Next string }
		if err := json.Unmarshal(body, &page); err != nil || page.Next == "" {
			return err
		}
		// The link names the API itself. What stands behind the target goes behind the route.
		rest, ok := strings.CutPrefix(page.Next, target+"/")
		if !ok {
			return errors.New("the next page is not at the target")
		}
		path = "/" + rest
	}
	return errors.New("there are too many pages")
}

func main() {
	log.SetFlags(0)
	args := append(os.Args[1:], "")
	if len(args) < 4 {
		log.Fatal("usage: ROUTE TARGET PATH [SUBJECT]")
	}
	if err := pages(args[0], args[1], args[2], args[3]); err != nil {
		log.Fatal(err)
	}
}
