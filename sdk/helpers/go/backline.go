// Package backline is the contract backline:connector@1.0.0 in Go: what a connector implements, what it may call, and
// helpers. Every call runs in a fresh instance: nothing in memory outlives it.
package backline

import "strconv"

// Connector is what the host calls.
type Connector interface {
	// Check says whether the account can be reached, and answers with its name on the platform.
	Check(account Account) (string, error)
	// Fetch answers every account, in their order. Each does that for requests about one account.
	Fetch(accounts []Account, context Context) []Answer
	// Normalize turns a document into metrics. It is pure: nothing but Log works inside it.
	Normalize(document Document) (Snapshot, error)
}

var exported Connector

// Export makes a connector the component's; call it in func init.
func Export(connector Connector) { exported = connector }

// Account is an artist's presence on the platform.
type Account struct {
	ID         string  // the host's own; name it in a request to have this account's secret injected
	PlatformID string  // the platform's: an opaque text, always encoded in a URL
	Settings   string  // JSON, valid against the manifest's [settings]
	State      *string // JSON that was kept with the last document
}

// Window is the trailing window of post-level metrics in seconds since 1970, UTC: Since inclusive, Until exclusive.
type Window struct{ Since, Until int64 }

// Context is what every account of a batch has in common.
type Context struct {
	Window      Window
	LostMetrics []string // names that were reported as lost before: don't ask for them again
}

// Class of a failure. The host reacts to it, never to the text.
type Class uint8

// The classes of the contract.
const (
	NotFound Class = iota
	Unauthorized
	Reconnect
	Forbidden
	Misconfigured
	RateLimited
	QuotaExhausted
	Unavailable
	Unexpected
)

// Failure is why an account could not be fetched.
type Failure struct {
	Class   Class
	Why     string  // of all but NotFound, RateLimited and QuotaExhausted
	Seconds *uint32 // of RateLimited, where the platform said so
	Until   *int64  // of QuotaExhausted, in seconds since 1970
}

func (failure Failure) Error() string {
	return "class " + strconv.Itoa(int(failure.Class)) + ": " + failure.Why
}

// failureOf takes an error that is no Failure for an answer that is not what the platform documents.
func failureOf(err error) Failure {
	if failure, ok := err.(Failure); ok {
		return failure
	}
	return Failure{Class: Unexpected, Why: err.Error()}
}

// Answer is the answer to one account: a document, or an error.
type Answer struct {
	Body  []byte  // JSON, as the platform sent it wherever possible
	State *string // JSON to be given back next time
	Err   error
}

// Each answers every account by itself, in order: one account's failure does not affect the others.
func Each(accounts []Account, fetch func(Account) ([]byte, error)) []Answer {
	answers := make([]Answer, len(accounts))
	for i, account := range accounts {
		body, err := fetch(account)
		answers[i] = Answer{Body: body, Err: err}
	}
	return answers
}

// Document is a stored document, as Normalize gets it: now, or years later.
type Document struct {
	Body       []byte
	Window     Window
	ObservedAt int64 // when it was fetched, in seconds since 1970
}

// Absence is why a metric has no value. Missing is never zero.
type Absence uint8

// The reasons of the contract.
const (
	NotOffered Absence = iota
	Hidden
	NotAuthorized
	NoSuchThing
	UnavailableNow
)

// Value of a metric: int64, float64, string or []string.
type Value any

// Coverage says how many posts an aggregate counted, and how many inside the window it had to skip.
type Coverage struct{ Counted, Skipped uint32 }

// Metric of the catalogue: a value, or without one the reason.
type Metric struct {
	Name     string
	Value    Value // nil if it is absent
	Absence  Absence
	Coverage *Coverage
}

// Basis is what an engagement rate is divided by.
type Basis uint8

// The bases of the contract.
const (
	Followers Basis = iota
	Views
	Reach
)

// Engagement is what the host needs to compute an engagement rate. The connector counts; the host divides.
type Engagement struct {
	Interactions               int64
	Base                       *int64
	Basis                      Basis
	PostsCounted, PostsSkipped uint32
}

// Snapshot is the metrics of one account at one time.
type Snapshot struct {
	Metrics    []Metric
	Engagement *Engagement
	Notes      []string
}

// Method of a request.
type Method uint8

// The methods of the contract.
const (
	Get Method = iota
	Head
	Post
	Put
	Patch
	Delete
)

// Header of a request or an answer; of an answer its name is in lower case.
type Header struct{ Name, Value string }

// Request to the platform.
type Request struct {
	Method  Method
	URL     string // absolute, https, encoded
	Headers []Header
	Body    []byte // nil for none
	Slot    string // of the credential; empty for none
	Account string // the ID of the account whose secret it is; empty for the operator's
}

// Response of the platform.
type Response struct {
	Status  uint16
	Headers []Header
	Body    []byte
}

// Header gives the value of a header, whose name is in lower case; empty if there is none.
func (response Response) Header(name string) string {
	for _, header := range response.Headers {
		if header.Name == name {
			return header.Value
		}
	}
	return ""
}

// Level of a line of the log.
type Level uint8

// The levels of the contract.
const (
	Debug Level = iota
	Info
	Warn
	Error
)
