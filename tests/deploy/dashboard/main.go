// Reads a Grafana dashboard strictly: unknown or mistyped members are errors, and so are values that the schema refuses.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins()
	content, err := os.ReadFile(os.Args[1])
	if err == nil {
		read := dashboard.Dashboard{}
		if err = read.UnmarshalJSONStrict(json.RawMessage(content)); err == nil {
			err = read.Validate()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
