package proxy

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
)

// A body that is given up is read by nobody any more: the read under way is waited for, and others fail.
func TestUploadsThatAreGivenUpAreNotReadOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body, app := io.Pipe()
		u := newUpload(httptest.NewRecorder(), &http.Request{Body: body})
		go func() { _, _ = u.Read(make([]byte, 8)) }()
		synctest.Wait()
		ended := make(chan bool)
		go func() {
			u.giveUp()
			close(ended)
		}()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("the read under way is not waited for")
		default:
		}
		_, _ = app.Write([]byte("x"))
		<-ended
		if _, err := u.Read(make([]byte, 8)); !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("another read returns %v", err)
		}
	})
}
