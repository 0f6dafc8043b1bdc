// Go's own reverse proxy before a kube-apiserver: TLS on both sides, requests as they are, one identity for all.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"
)

func main() {
	listen := flag.String("listen", "", "address and port")
	cert := flag.String("cert", "", "serving certificate")
	key := flag.String("key", "", "its key")
	server := flag.String("server", "", "URL of the kube-apiserver")
	ca := flag.String("ca", "", "its CA")
	tokens := flag.String("tokens", "", "file whose first column is the token of an administrator")
	flag.Parse()

	target, err := url.Parse(*server)
	check(err)
	pem, err := os.ReadFile(*ca)
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	table, err := os.ReadFile(*tokens)
	check(err)
	token, _, _ := strings.Cut(string(table), ",")

	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots},
		MaxIdleConns:        1024,
		MaxIdleConnsPerHost: 1024,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}
	proxy := &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Set("Authorization", "Bearer "+token)
			r.Out.Header.Set("Impersonate-User", "bench")
			r.Out.Header.Set("Impersonate-Group", "system:masters")
		},
	}
	front := &http.Server{
		Addr:         *listen,
		Handler:      proxy,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1, as all others here
	}
	check(front.ListenAndServeTLS(*cert, *key))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
