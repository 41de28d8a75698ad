package server

import (
	"cmp"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"welcomed/auth"
	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/operator/codes"
	"welcomed/server/admission"
)

// What the server refuses by itself, before it asks the store.
var (
	errBadRequest           = errors.New("bad request")
	errForbidden            = errors.New("forbidden")
	errNotAService          = errors.New("only a service says on whose behalf it acts")
	errReadOnly             = errors.New("this token may only read")
	errUnauthenticated      = errors.New("a bearer token is required")
	errEmptyRefs            = errors.New("refs is empty, which would withdraw everything")
	errMethodNotAllowed     = errors.New("method not allowed")
	errNotServed            = errors.New("not found") // a path, or what can be none of the store's objects
	errStopping             = errors.New("the server is told to stop")
	errNoKeyPackages        = errors.New(`there are no key_packages: send {"key_packages":["…"]} with each KeyPackage in base64, or one KeyPackage as message/mls`)
	errPrecondition         = errors.New("precondition failed")
	errPreconditionRequired = errors.New("If-Match with the digest of the inventory is required")
	errProxied              = errors.New("there is no authentication, so only direct requests from this machine are served")
	errRange                = errors.New("range not satisfiable")
	errSlow                 = errors.New("the body did not come in time")
	errTooLarge             = errors.New("too large")
	errTooManyHeaders       = errors.New("too many header fields")
	errTooManyKeyPackages   = errors.New("too many KeyPackages")
	errTooManyRecipients    = errors.New("too many recipients")
	errMediaType            = errors.New("unsupported media type")
)

// answers maps each error to a status and a code. An error that is not here is a fault of ours:
// the answer is 500 without details, and the log has a line. Errors of mls that are not here
// are 422 with their own code.
var answers = []struct {
	err    error
	status int
	code   string
}{
	{delivery.ErrBadIdentifier, http.StatusBadRequest, "bad_identifier"},
	{mls.ErrMalformed, http.StatusBadRequest, string(mls.CodeMalformed)},
	{&mls.Error{Code: mls.CodeWrongMessageType}, http.StatusBadRequest, string(mls.CodeWrongMessageType)},
	{errBadRequest, http.StatusBadRequest, "bad_request"},
	{delivery.ErrBadCursor, http.StatusBadRequest, "bad_request"},
	{errEmptyRefs, http.StatusBadRequest, "empty_refs"},
	{errNoKeyPackages, http.StatusBadRequest, "no_key_packages"},
	{errTooManyKeyPackages, http.StatusBadRequest, "too_many_key_packages"},

	{errUnauthenticated, http.StatusUnauthorized, "unauthenticated"},
	{auth.ErrInvalid, http.StatusUnauthorized, "invalid_token"},
	{auth.ErrBadSubject, http.StatusForbidden, "bad_subject"},
	{errForbidden, http.StatusForbidden, "forbidden"},
	{errNotAService, http.StatusForbidden, "not_a_service"},
	{errReadOnly, http.StatusForbidden, "read_only"},
	{delivery.ErrDeviceRemoved, http.StatusForbidden, "device_removed"},
	{errProxied, http.StatusForbidden, "proxied_without_auth"},
	{delivery.ErrNotFound, http.StatusNotFound, "not_found"},
	{errNotServed, http.StatusNotFound, "not_found"},
	{errMethodNotAllowed, http.StatusMethodNotAllowed, "method_not_allowed"},
	{errSlow, http.StatusRequestTimeout, "request_timeout"},

	{delivery.ErrInitKeyReused, http.StatusConflict, "init_key_reused"},
	{delivery.ErrKeyPackageSpent, http.StatusConflict, "key_package_spent"},
	{delivery.ErrNotYours, http.StatusConflict, "not_yours"},
	{delivery.ErrStockFull, http.StatusConflict, "stock_full"},
	{delivery.ErrDeviceLimit, http.StatusConflict, "device_limit"},
	{delivery.ErrTooManyTokens, http.StatusConflict, "too_many_tokens"},
	{delivery.ErrConsumed, http.StatusConflict, "consumed"},
	{delivery.ErrNoMatchingKeyPackage, http.StatusConflict, "no_matching_key_package"},
	{delivery.ErrPostedDifferently, http.StatusConflict, "posted_differently"},
	{delivery.ErrCancelled, http.StatusConflict, "cancelled"},
	{delivery.ErrNotDelivered, http.StatusConflict, "not_delivered"},
	{delivery.ErrDamaged, http.StatusGone, "damaged"},

	{delivery.ErrInventoryChanged, http.StatusPreconditionFailed, "inventory_changed"},
	{errPrecondition, http.StatusPreconditionFailed, "precondition_failed"},
	{errTooLarge, http.StatusRequestEntityTooLarge, "too_large"},
	{errMediaType, http.StatusUnsupportedMediaType, "unsupported_media_type"},
	{errRange, http.StatusRequestedRangeNotSatisfiable, "range_not_satisfiable"},
	{delivery.ErrInvalidKeyPackage, http.StatusUnprocessableEntity, "invalid_key_package"},
	{delivery.ErrWrongSuite, http.StatusUnprocessableEntity, "wrong_suite"},
	{delivery.ErrIdempotencyKeyReused, http.StatusUnprocessableEntity, "idempotency_key_reused"},
	{delivery.ErrTooMany, http.StatusUnprocessableEntity, "too_many"},
	{errTooManyRecipients, http.StatusUnprocessableEntity, "too_many_recipients"},
	{errPreconditionRequired, http.StatusPreconditionRequired, "precondition_required"},

	{admission.ErrTooManyChecks, http.StatusTooManyRequests, "too_many_checks"},
	{admission.ErrTooMuchStored, http.StatusTooManyRequests, "too_much_stored"},
	{admission.ErrTooManyPublications, http.StatusTooManyRequests, "too_many_publications"},
	{admission.ErrCallerBudget, http.StatusTooManyRequests, "caller_budget"},
	{admission.ErrTooManyNames, http.StatusTooManyRequests, "caller_budget"},
	{admission.ErrListBudget, http.StatusTooManyRequests, "list_budget"},
	{admission.ErrPairBudget, http.StatusTooManyRequests, "pair_budget"},
	{admission.ErrTargetBudget, http.StatusTooManyRequests, "target_budget"},
	{admission.ErrTooManyRequests, http.StatusTooManyRequests, "too_many_requests"},
	{admission.ErrTooManyWaits, http.StatusTooManyRequests, "too_many_waits"},
	{errTooManyHeaders, http.StatusRequestHeaderFieldsTooLarge, "too_many_headers"},

	{auth.ErrUnavailable, http.StatusServiceUnavailable, "auth_unavailable"},
	{delivery.ErrOutcomeUnknown, http.StatusServiceUnavailable, "outcome_unknown"},
	{admission.ErrOverloaded, http.StatusServiceUnavailable, "overloaded"},
	{delivery.ErrFileGone, http.StatusServiceUnavailable, "store_unavailable"},
	{delivery.ErrUnavailable, http.StatusServiceUnavailable, "store_unavailable"},
	{delivery.ErrClosed, http.StatusServiceUnavailable, "shutting_down"},
	{errStopping, http.StatusServiceUnavailable, "shutting_down"},
	{delivery.ErrClock, http.StatusServiceUnavailable, "clock_not_trusted"},
	{delivery.ErrDiskFull, http.StatusInsufficientStorage, "store_full"},
	{delivery.ErrSizeLimit, http.StatusInsufficientStorage, "store_full"},
	{delivery.ErrFull, http.StatusInsufficientStorage, "store_full"},
}

// A problem is an error as the client gets it (RFC 9457).
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Detail    string `json:"detail,omitempty"`
	RequestID string `json:"request_id"`

	Invalid    *[]invalidItem   `json:"invalid,omitempty"`
	Room       *int             `json:"room,omitempty"`
	Recipients *[]recipientJSON `json:"recipients,omitempty"`
}

// A ProblemKind is what all problems with the same code have in common.
type ProblemKind struct {
	Status int
	Code   string
}

// ProblemKinds returns every kind of problem that an answer may have.
func ProblemKinds() (kinds []ProblemKind) {
	kinds = append(kinds, ProblemKind{http.StatusInternalServerError, codeInternal})
	for _, a := range answers {
		kinds = append(kinds, ProblemKind{a.status, a.code})
	}
	for _, code := range mls.Codes {
		p := classify(&mls.Error{Code: code})
		kinds = append(kinds, ProblemKind{p.Status, p.Code})
	}
	slices.SortFunc(kinds, func(a, b ProblemKind) int {
		return cmp.Or(cmp.Compare(a.Status, b.Status), cmp.Compare(a.Code, b.Code))
	})
	return slices.Compact(kinds)
}

const codeInternal = "internal"

type invalidItem struct {
	Index  int               `json:"index"`
	Ref    string            `json:"ref,omitempty"`
	Code   delivery.ItemCode `json:"code"`
	Detail string            `json:"detail"`
}

// fail answers with err.
func (s *Server) fail(w *response, r *request, err error) {
	if r.Context().Err() != nil && errors.Is(err, r.Context().Err()) {
		return // the client is gone
	}
	p := s.failed(r, err)
	w.problem = p.Code
	if w.status != 0 {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
	if later, ok := errors.AsType[*admission.RetryError](err); ok {
		w.Header().Set("Retry-After", strconv.Itoa(later.RetryAfter()))
	} else if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", challenge(err))
	}
	w.Header().Set("Cache-Control", "no-store") // ServeContent removes it
	p.RequestID = r.id
	if r.operator {
		p.Detail = clip(err.Error())
	}
	if p.Invalid == nil && r.publishes() && p.Status < 500 {
		p.Invalid = &[]invalidItem{}
	}
	_ = answerAs(w, p.Status, "application/problem+json", p) // strings and numbers encode
}

// failed returns what a client is told of err, counts it, and logs what is our fault.
func (s *Server) failed(r *request, err error) problem {
	p := problemOf(err)
	s.options.Problem(ProblemKind{p.Status, p.Code})
	if p.Status == http.StatusInternalServerError {
		fields := []any{slog.String("route", r.route.path), slog.String("method", knownMethod(r.Method)),
			slog.String("request_id", r.id), slog.String("client", r.client.String()), slog.Any("error", err)}
		if p, ok := errors.AsType[*delivery.PanicError](err); ok {
			fields = append(fields, slog.String("stack", p.Stack))
		}
		s.log.Error("request failed", fields...)
	}
	return p
}

func problemOf(err error) problem {
	p := classify(err)
	p.Type, p.Title = errorsPath+"/"+p.Code, http.StatusText(p.Status)
	if do := codes.Refusals[p.Code].Do; p.Status < 500 {
		p.Detail += ": " + do
	}
	if refused, ok := errors.AsType[*delivery.PublishError](err); ok {
		p.Invalid = invalidItems(refused.Items)
	}
	if full, ok := errors.AsType[*delivery.StockFullError](err); ok {
		p.Room = &full.Room
	}
	if unmatched, ok := errors.AsType[*delivery.NoMatchError](err); ok {
		recipients := recipientsJSON(unmatched.Recipients)
		p.Recipients = &recipients
	}
	return p
}

// classify finds the status and the code. The client gets the text of an error if it can do
// something about it, and else only the code.
func classify(err error) problem {
	for _, a := range answers {
		if !errors.Is(err, a.err) {
			continue
		}
		if a.status >= 500 {
			err = a.err
		}
		return problem{Status: a.status, Code: a.code, Detail: clip(err.Error())}
	}
	if refused, ok := errors.AsType[*mls.Error](err); ok {
		return problem{Status: http.StatusUnprocessableEntity, Code: string(refused.Code), Detail: clip(refused.Error())}
	}
	return problem{Status: http.StatusInternalServerError, Code: codeInternal}
}

// clip bounds a text that may contain text of the client.
func clip(detail string) string {
	const most = 400 // what to do comes behind them
	if len(detail) > most {
		detail = strings.ToValidUTF8(detail[:most], "") + "…"
	}
	return detail
}

func invalidItems(items []delivery.InvalidItem) *[]invalidItem {
	list := make([]invalidItem, len(items))
	for i, item := range items {
		list[i] = invalidItem(item)
	}
	return &list
}
