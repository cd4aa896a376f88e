package ovs

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kind says what went wrong in the terms that a caller can act on. The list is closed: it crosses the wire
// between nodes, and one table (kinds, below) maps it to NFS, HTTP and exit codes.
type Kind uint8

// The kinds. Their order is part of the wire format between nodes: append only.
const (
	KindUnknown      Kind = iota // an error that nobody classified; treated as IO
	KindInvalid                  // the arguments can never work
	KindNotFound                 // no such name, key, object or namespace
	KindExists                   // the name or object is already there
	KindNotDir                   // a directory was needed
	KindIsDir                    // anything but a directory was needed
	KindNotEmpty                 // the directory still has entries
	KindPermission               // only the owner or root may do this (EPERM)
	KindAccess                   // the mode bits or the export refuse it (EACCES)
	KindReadOnly                 // the export or vPool is read-only
	KindNoSpace                  // the log, the backend or the disk is full
	KindTooBig                   // past the largest file size
	KindNameTooLong              // a name of more than 255 bytes
	KindTooManyLinks             // the link count would overflow
	KindCrossDevice              // a link or rename between two vPools
	KindStale                    // the object behind this handle is gone for ever
	KindBadHandle                // a handle that this cluster never gave out
	KindNotSupported             // a valid request for what we do not do
	KindTooSmall                 // the caller's buffer cannot hold one entry
	KindBusy                     // over a limit or in the middle of a change: try the same again later
	KindFenced                   // another epoch or owner is in charge by now: ask who, then try there
	KindConflict                 // an assertion failed, or an immutable name holds other content
	KindCorrupt                  // data was found and is wrong: never served
	KindIO                       // a device failed
	KindTimeout                  // the deadline passed; the outcome is unknown
	KindClosed                   // the part is shutting down
	kindCount
)

// kinds is the one table from kinds to the outside: NFS3 status (RFC 1813, section 2.6), HTTP status, exit code of ovs.
var kinds = [kindCount]struct {
	text string
	nfs  uint32
	http int
	exit int
}{
	KindUnknown:      {"unknown error", 5, http.StatusInternalServerError, 1},
	KindInvalid:      {"invalid", 22, http.StatusBadRequest, 2},
	KindNotFound:     {"not found", 2, http.StatusNotFound, 3},
	KindExists:       {"already exists", 17, http.StatusConflict, 4},
	KindNotDir:       {"not a directory", 20, http.StatusConflict, 4},
	KindIsDir:        {"is a directory", 21, http.StatusConflict, 4},
	KindNotEmpty:     {"directory not empty", 66, http.StatusConflict, 4},
	KindPermission:   {"not permitted", 1, http.StatusForbidden, 5},
	KindAccess:       {"access denied", 13, http.StatusForbidden, 5},
	KindReadOnly:     {"read-only", 30, http.StatusForbidden, 5},
	KindNoSpace:      {"no space", 28, http.StatusInsufficientStorage, 6},
	KindTooBig:       {"too big", 27, http.StatusRequestEntityTooLarge, 2},
	KindNameTooLong:  {"name too long", 63, http.StatusBadRequest, 2},
	KindTooManyLinks: {"too many links", 31, http.StatusConflict, 4},
	KindCrossDevice:  {"across vPools", 18, http.StatusConflict, 4},
	KindStale:        {"stale", 70, http.StatusGone, 3},
	KindBadHandle:    {"bad handle", 10001, http.StatusBadRequest, 2},
	KindNotSupported: {"not supported", 10004, http.StatusNotImplemented, 2},
	KindTooSmall:     {"buffer too small", 10005, http.StatusBadRequest, 2},
	KindBusy:         {"busy, try again", 10008, http.StatusServiceUnavailable, 7},
	KindFenced:       {"fenced by a newer owner", 10008, http.StatusServiceUnavailable, 7},
	KindConflict:     {"conflict", 5, http.StatusConflict, 4},
	KindCorrupt:      {"corrupt", 5, http.StatusInternalServerError, 8},
	KindIO:           {"input/output error", 5, http.StatusInternalServerError, 8},
	KindTimeout:      {"timed out", 10008, http.StatusGatewayTimeout, 7},
	KindClosed:       {"shutting down", 10008, http.StatusServiceUnavailable, 7},
}

func (k Kind) at() Kind {
	if k >= kindCount {
		return KindUnknown
	}
	return k
}

// String is the kind in words.
func (k Kind) String() string { return kinds[k.at()].text }

// NFS is the NFS3 status of the kind (RFC 1813, section 2.6). Trouble that passes is JUKEBOX, never STALE or NOENT.
func (k Kind) NFS() uint32 { return kinds[k.at()].nfs }

// HTTP is the HTTP status of the kind.
func (k Kind) HTTP() int { return kinds[k.at()].http }

// Exit is the exit code with which the ovs command ends on an error of the kind.
func (k Kind) Exit() int { return kinds[k.at()].exit }

// Error is an operation that failed: which one, in what way, on what, and why.
type Error struct {
	Op   string // "package.Operation"
	Kind Kind
	On   string // the object, name or key; may be empty
	Err  error  // the cause; may be nil
}

// E makes an Error. A cause that is an *Error already lends its kind where kind is KindUnknown.
func E(op string, kind Kind, on any, cause error) error {
	e := &Error{Op: op, Kind: kind, Err: cause}
	if on != nil {
		e.On = fmt.Sprint(on)
	}
	if kind == KindUnknown && cause != nil {
		e.Kind = KindOf(cause)
	}
	return e
}

// Error reads as a call path: outer operation first.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.On != "" {
		b.WriteString(" " + legible(e.On))
	}
	b.WriteString(": ")
	var inner *Error
	if e.Err == nil || !errors.As(e.Err, &inner) || inner.Kind != e.Kind {
		b.WriteString(e.Kind.String())
		if e.Err != nil {
			b.WriteString(": ")
		}
	}
	if e.Err != nil {
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// legible quotes what holds bytes that cannot be printed, as many keys of the registry do.
func legible(s string) string {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf is the kind of the outermost Error in err's chain; KindUnknown for others and for nil.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindUnknown
}

// Is reports whether err is an Error of kind k.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }
