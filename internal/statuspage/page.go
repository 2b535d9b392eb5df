package statuspage

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"strings"
)

// The page is one file without anything from elsewhere, so that it works under any
// path, and while nothing else does.
var (
	//go:embed page/index.html
	document string
	//go:embed page/style.css
	style string
	//go:embed page/script.js
	script string
)

// Page is the page.
var Page = []byte(strings.NewReplacer("/*style*/", style, "/*script*/", script).Replace(document))

// Policy is the page's Content-Security-Policy. Only our own script and style are
// allowed, only the edge is asked, and no text can become markup.
var Policy = strings.Join([]string{
	"default-src 'none'",
	"script-src " + hash(script),
	"style-src " + hash(style),
	"img-src data:", // the icon
	"connect-src 'self'",
	"base-uri 'none'",
	"form-action 'none'",
	"frame-ancestors 'none'",
	"require-trusted-types-for 'script'",
	"trusted-types 'none'",
}, "; ")

// hash returns what allows an inline script or style.
func hash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
