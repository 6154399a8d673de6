"use strict";

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

// An operation answers one or two ways when all is well, and a dozen ways when it is not: those are folded away.
const FoldedErrors = (system) => {
  const { createElement, useState } = system.React;
  return {
    wrapComponents: {
      responses: (Responses) => (props) => {
        const [open, setOpen] = useState(false);
        const errors = props.responses.keySeq().filter((status) => status >= "400").toArray();
        if (errors.length === 0) return createElement(Responses, props);
        const label = `${open ? "Hide" : "Show"} errors (${errors.join(", ")})`;
        return createElement(
          "div",
          { className: open ? "responses-unfolded" : "responses-folded" },
          createElement(Responses, props),
          createElement(
            "button",
            { type: "button", className: "errors-toggle", "aria-expanded": open, onClick: () => setOpen(!open) },
            label,
          ),
        );
      },
    },
  };
};

const place = document.getElementById("swagger-ui");
window.ui = SwaggerUIBundle({
  url: place.dataset.schema,
  domNode: place,
  deepLinking: true,
  persistAuthorization: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  docExpansion: "list",
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [FoldedErrors],
});
