// Package labs holds the labs that are built in, and the claims of the article.
// An instructor adds a lab by adding a folder; docs/labs.md says what lies in it.
package labs

import (
	"embed"
	"io/fs"
)

//go:embed all:[0-9]* claims.yaml
var files embed.FS

// FS returns the labs folder.
func FS() fs.FS { return files }
