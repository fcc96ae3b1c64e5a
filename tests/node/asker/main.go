// What the pods of the node tests run. `asker wait` is the process that keeps a pod's namespaces open. `asker ask`
// asks for credentials, at once and then at a steady rate, as the SDKs of many short programs and of some long ones do,
// finding credlet by the environment that SDKs read, and prints what it was told so far, one JSON object a line.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

// An SDK of AWS gives up on a container credentials endpoint after a second or two.
const patience = 2 * time.Second

var started = time.Now()

type credentials struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      time.Time
	RoleArn         string
}

// What is printed. Asked counts requests that were due, whether or not they have been answered yet. Before the first of
// them: Refused connections, as long as nobody listened, and how long after its start this program was answered.
type tally struct {
	Refused   int            `json:"refused"`
	FirstMs   float64        `json:"first_ms"`
	Asked     int            `json:"asked"`
	Answered  int            `json:"answered"`
	Failed    int            `json:"failed"`
	Retried   int            `json:"retried"` // on a kept connection that was closed before the request came through
	Late      int            `json:"late"`    // answered only after half a second
	SlowestMs int64          `json:"slowest_ms"`
	Roles     map[string]int `json:"roles"`
	KeyIDs    []string       `json:"key_ids"`
	Failures  []string       `json:"failures"` // the first ones, in words
}

type asker struct {
	mutex sync.Mutex
	tally tally
}

func (a *asker) note(took time.Duration, got credentials, retried bool, err error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if retried {
		a.tally.Retried++
	}
	if took > 500*time.Millisecond {
		a.tally.Late++
	}
	a.tally.SlowestMs = max(a.tally.SlowestMs, took.Milliseconds())
	if err != nil {
		a.tally.Failed++
		if len(a.tally.Failures) < 10 {
			a.tally.Failures = append(a.tally.Failures, fmt.Sprintf("%s after %v: %v",
				time.Now().UTC().Format("15:04:05.000"), took.Round(time.Millisecond), err))
		}
		return
	}
	a.tally.Answered++
	a.tally.Roles[got.RoleArn]++
	for _, known := range a.tally.KeyIDs {
		if known == got.AccessKeyID {
			return
		}
	}
	a.tally.KeyIDs = append(a.tally.KeyIDs, got.AccessKeyID)
}

func (a *asker) print() {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	line, err := json.Marshal(a.tally)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

func get(client *http.Client) (got credentials, retried bool, err error) {
	request, err := http.NewRequest(http.MethodGet, os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI"), nil)
	if err != nil {
		return got, false, err
	}
	if file := os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
		token, err := os.ReadFile(file)
		if err != nil {
			return got, false, err
		}
		request.Header.Set("Authorization", strings.TrimSpace(string(token)))
	}
	connections := 0
	request = request.WithContext(httptrace.WithClientTrace(context.Background(),
		&httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connections++ }}))
	response, err := client.Do(request)
	if err != nil {
		return got, connections > 1, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return got, connections > 1, err
	}
	if response.StatusCode != http.StatusOK {
		return got, connections > 1, fmt.Errorf("%s: %.300s", response.Status, body)
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return got, connections > 1, err
	}
	if got.AccessKeyID == "" || got.SecretAccessKey == "" || got.Token == "" || time.Until(got.Expiration) < time.Minute {
		return got, connections > 1, errors.New("incomplete or expired credentials")
	}
	return got, connections > 1, nil
}

// The very first request, again and again while nobody listens, at first after a millisecond.
func (a *asker) arrive(ctx context.Context, client *http.Client, tick <-chan time.Time) {
	pause := time.Millisecond
	for ctx.Err() == nil {
		asked := time.Now()
		got, _, err := get(client)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			a.tally.FirstMs = float64(time.Since(started).Microseconds()) / 1000
			a.tally.Asked = 1
			a.note(time.Since(asked), got, false, err)
			return
		}
		a.tally.Refused++
		select {
		case <-ctx.Done():
		case <-tick:
			a.print()
		case <-time.After(pause):
			pause = min(2*pause, 20*time.Millisecond)
		}
	}
}

// Requests are due at their times however long others take: a client that waited for the slow ones would not notice a
// gap. Every other request is made on a connection of its own.
func ask(ctx context.Context, rate float64) {
	fresh := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	kept := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 8, MaxConnsPerHost: 8}}
	a := &asker{tally: tally{Roles: map[string]int{}}}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	a.arrive(ctx, fresh, tick.C)
	interval := time.Duration(float64(time.Second) / rate)
	var running sync.WaitGroup
	due := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		for wait := time.Until(due); wait > 0 && ctx.Err() == nil; wait = time.Until(due) {
			select {
			case <-ctx.Done():
			case <-tick.C:
				a.print()
			case <-time.After(wait):
			}
		}
		due = due.Add(interval)
		client, kind := kept, "kept"
		if n%2 == 0 {
			client, kind = fresh, "fresh"
		}
		a.mutex.Lock()
		a.tally.Asked++
		a.mutex.Unlock()
		running.Go(func() {
			start := time.Now()
			got, retried, err := get(client)
			if err != nil {
				err = fmt.Errorf("%s connection: %w", kind, err)
			}
			a.note(time.Since(start), got, retried, err)
		})
	}
	running.Wait()
	a.print()
}

// As the first process of a pod it inherits orphans, which it must reap.
func wait(ctx context.Context) {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for {
		select {
		case <-ctx.Done():
			return
		case <-children:
			for pid := 1; pid > 0; {
				pid, _ = syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			}
		}
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	flags := flag.NewFlagSet("asker", flag.ExitOnError)
	rate := flags.Float64("rate", 1, "requests a second")
	if len(os.Args) < 2 {
		os.Args = append(os.Args, "")
	}
	_ = flags.Parse(os.Args[2:])
	switch os.Args[1] {
	case "ask":
		ask(ctx, *rate)
	case "wait":
		wait(ctx)
	default:
		fmt.Fprintln(os.Stderr, "usage: asker ask [-rate N] | asker wait")
		os.Exit(2)
	}
}
