"use strict";

for (const button of document.querySelectorAll("[data-shows]")) {
  const field = document.getElementById(button.dataset.shows);
  const texts = { show: button.textContent, hide: button.dataset.hide };
  const show = (shown) => {
    field.type = shown ? "text" : "password";
    button.textContent = shown ? texts.hide : texts.show;
    button.setAttribute("aria-pressed", String(shown));
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    show(field.type === "password");
    field.focus();
  });
  field.form.addEventListener("submit", () => show(false));
}

for (const form of document.forms) {
  form.addEventListener("submit", () => {
    // Afterwards: a disabled button would not send its name and value.
    setTimeout(() => {
      for (const button of form.querySelectorAll("button[type=submit]")) button.disabled = true;
    });
  });
}
window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("button[type=submit]")) button.disabled = false;
});
