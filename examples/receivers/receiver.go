// Receives Ringback's webhooks with nothing but Go's standard library. Run: WEBHOOK_SECRET=whsec_… PORT=3000 go run receiver.go
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	tolerance    = 5 * time.Minute
	bodyBytesMax = 1 << 20
)

var secret []byte

var timestampPattern = regexp.MustCompile(`^[0-9]{1,12}$`)

// verify: begin
func verify(header http.Header, body []byte) bool {
	id := header.Get("webhook-id") // finds names in any case
	timestamp := header.Get("webhook-timestamp")
	if id == "" || !timestampPattern.MatchString(timestamp) {
		return false
	}
	seconds, _ := strconv.ParseInt(timestamp, 10, 64)
	if age := time.Since(time.Unix(seconds, 0)); age > tolerance || age < -tolerance {
		return false
	}
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s.", id, timestamp)
	mac.Write(body)
	expected := mac.Sum(nil)
	for _, signature := range strings.Split(header.Get("webhook-signature"), " ") {
		given, isV1 := strings.CutPrefix(signature, "v1,") // v1a, and what may come after it, is passed over
		bytes, err := base64.StdEncoding.DecodeString(given)
		if isV1 && err == nil && hmac.Equal(bytes, expected) {
			return true
		}
	}
	return false
}

// verify: end

// In earnest: a column with a unique index, written in one transaction with the work or with the entry in your queue.
var (
	seen     = map[string]bool{}
	seenLock sync.Mutex
)

type event struct {
	Type string `json:"type"`
	Data struct {
		TaskID string `json:"taskId"`
	} `json:"data"`
}

func accept(body []byte) error {
	var told event
	if err := json.Unmarshal(body, &told); err != nil {
		return err
	}
	fmt.Println(told.Type, told.Data.TaskID)
	return nil
}

func receive(request *http.Request, body []byte) int {
	if !verify(request.Header, body) {
		return http.StatusBadRequest
	}
	id := request.Header.Get("webhook-id")
	seenLock.Lock()
	defer seenLock.Unlock()
	if !seen[id] {
		if err := accept(body); err != nil {
			return http.StatusInternalServerError
		}
	}
	seen[id] = true
	return http.StatusNoContent
}

func handle(writer http.ResponseWriter, request *http.Request) {
	if request.Method != http.MethodPost {
		writer.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(writer, request.Body, bodyBytesMax))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		writer.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		return
	}
	writer.WriteHeader(receive(request, body))
}

func main() {
	var err error
	secret, err = base64.StdEncoding.DecodeString(strings.TrimPrefix(os.Getenv("WEBHOOK_SECRET"), "whsec_"))
	if err != nil || len(secret) < 24 {
		log.Fatal("WEBHOOK_SECRET: expected whsec_ and base64, as shown when the endpoint was made")
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "3000"
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on %d\n", listener.Addr().(*net.TCPAddr).Port)
	server := &http.Server{Handler: http.HandlerFunc(handle), ReadTimeout: 30 * time.Second}
	log.Fatal(server.Serve(listener))
}
