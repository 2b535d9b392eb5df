module github.com/caddy-tigergraph/caddy-tigergraph/integration_test/browser

go 1.26.0

replace github.com/caddy-tigergraph/caddy-tigergraph => ../..

require (
	github.com/caddy-tigergraph/caddy-tigergraph v0.0.0
	github.com/chromedp/cdproto v0.159.0
	github.com/chromedp/chromedp v0.23.0
)

require github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
