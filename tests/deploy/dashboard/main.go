// Reads a Grafana dashboard strictly: unknown, missing or mistyped members are errors, and values that its schema refuses.
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
	if err != nil {
		panic(err)
	}
	read := dashboard.Dashboard{}
	refused := false
	for _, err := range []error{read.UnmarshalJSONStrict(json.RawMessage(content)), read.Validate()} {
		if err != nil && err.Error() != "" { // the SDK also returns empty lists of errors
			fmt.Fprintln(os.Stderr, err)
			refused = true
		}
	}
	if refused {
		os.Exit(1)
	}
}
