package framework

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"ovs"
)

// Source is the node as the API sees it.
type Source interface {
	Status(ctx context.Context) Status
	// Flush brings all that a vPool's clients wrote so far to the backend.
	Flush(ctx context.Context, vpool string) error
}

// API is the REST API of one node.
type API struct {
	source Source
	token  string
	server *http.Server
}

// NewAPI makes the API. metrics answers /metrics.
func NewAPI(source Source, token string, metrics http.Handler) *API {
	a := &API{source: source, token: token}
	r := mux.NewRouter()
	r.HandleFunc("/healthz", a.healthz).Methods(http.MethodGet)
	r.Handle("/metrics", metrics).Methods(http.MethodGet)
	r.NotFoundHandler = refuse(http.StatusNotFound, ovs.KindNotFound, "there is nothing at this path")
	r.MethodNotAllowedHandler = refuse(http.StatusMethodNotAllowed, ovs.KindNotSupported, "this path does not take this method")
	v1 := r.PathPrefix("/api/v1").Subrouter()
	v1.Use(a.authenticated)
	v1.HandleFunc("/status", a.status).Methods(http.MethodGet)
	v1.HandleFunc("/vpools", a.vpools).Methods(http.MethodGet)
	v1.HandleFunc("/vpools/{vpool}", a.vpool).Methods(http.MethodGet)
	v1.HandleFunc("/vpools/{vpool}/flush", a.flush).Methods(http.MethodPost)
	v1.HandleFunc("/debug/pprof/{name}", profile).Methods(http.MethodGet)
	a.server = &http.Server{
		Handler: r, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 5 * time.Minute,
		IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
	}
	return a
}

// Handler is the API's HTTP handler.
func (a *API) Handler() http.Handler { return a.server.Handler }

// Serve answers on l until Close.
func (a *API) Serve(l net.Listener) error {
	if err := a.server.Serve(limit(l, mostConns)); !errors.Is(err, http.ErrServerClosed) {
		return ovs.E("framework.Serve", ovs.KindIO, l.Addr(), err)
	}
	return nil
}

// Close ends Serve once running requests are answered. Those that are not when ctx is done are cut short.
func (a *API) Close(ctx context.Context) error {
	err := a.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, a.server.Close())
	}
	return err
}

func (a *API) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || subtle.ConstantTimeCompare([]byte(got), []byte(a.token)) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			reply(w, http.StatusUnauthorized, Problem{Kind: "unauthorized",
				Error: "this needs the token in admin.token of the data directory, as Authorization: Bearer TOKEN"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (a *API) healthz(w http.ResponseWriter, r *http.Request) {
	s := a.source.Status(r.Context())
	code := http.StatusOK
	if !s.Health.OK || !s.Ready {
		code = http.StatusServiceUnavailable
	}
	reply(w, code, s.Health)
}

func (a *API) status(w http.ResponseWriter, r *http.Request) {
	reply(w, http.StatusOK, a.source.Status(r.Context()))
}

func (a *API) vpools(w http.ResponseWriter, r *http.Request) {
	reply(w, http.StatusOK, a.source.Status(r.Context()).VPools)
}

func (a *API) vpool(w http.ResponseWriter, r *http.Request) {
	name := mux.Vars(r)["vpool"]
	for _, p := range a.source.Status(r.Context()).VPools {
		if p.Name == name {
			reply(w, http.StatusOK, p)
			return
		}
	}
	fail(w, ovs.E("framework.VPool", ovs.KindNotFound, name, nil))
}

func (a *API) flush(w http.ResponseWriter, r *http.Request) {
	if err := a.source.Flush(r.Context(), mux.Vars(r)["vpool"]); err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func refuse(code int, k ovs.Kind, why string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reply(w, code, Problem{Error: r.Method + " " + r.URL.Path + ": " + why, Kind: k.String()})
	})
}

func fail(w http.ResponseWriter, err error) {
	k := ovs.KindOf(err)
	reply(w, k.HTTP(), Problem{Error: err.Error(), Kind: k.String()})
}

func reply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// An error here is a client that went away: there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(body)
}
