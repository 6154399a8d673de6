"use strict";

// A form with options for the browser's passkeys: <form data-passkey-get='{…}'> signs in, <form data-passkey-create='{…}'>
// registers. What the browser returns goes into the field `credential`. Without support the form stays hidden.
const supported = (rpId) =>
  typeof PublicKeyCredential === "function" &&
  "parseRequestOptionsFromJSON" in PublicKeyCredential &&
  (location.hostname === rpId || location.hostname.endsWith(`.${rpId}`));

const send = (form, credential) => {
  const remember = document.querySelector("input[type=checkbox][name=remember]");
  if (remember !== null && remember.checked && form.elements.remember) form.elements.remember.value = "1";
  form.elements.credential.value = JSON.stringify(credential.toJSON());
  form.requestSubmit();
};

const complain = (form, error) => {
  // The person closed the browser's dialog, or it was closed for another one.
  if (error.name === "AbortError") return;
  for (const text of form.querySelectorAll("[data-passkey-problem]")) text.hidden = false;
};

for (const form of document.querySelectorAll("form[data-passkey-get]")) {
  const options = JSON.parse(form.dataset.passkeyGet);
  if (!supported(options.rpId)) continue;
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
  const button = form.querySelector("button");
  let waiting = new AbortController();
  form.hidden = false;
  button.addEventListener("click", async (event) => {
    if (form.elements.credential.value) return;
    event.preventDefault();
    waiting.abort();
    try {
      send(form, await navigator.credentials.get({ publicKey }));
    } catch (error) {
      complain(form, error);
    }
  });
  // The browser offers passkeys in the list of the field `email`.
  if (options.allowCredentials.length === 0 && document.querySelector("[autocomplete~=webauthn]") !== null) {
    PublicKeyCredential.isConditionalMediationAvailable().then(async (available) => {
      if (!available) return;
      try {
        const credential = await navigator.credentials.get({ publicKey, mediation: "conditional", signal: waiting.signal });
        send(form, credential);
      } catch {
        // Nobody chose one, or the button was pressed.
      }
    });
  }
}

for (const form of document.querySelectorAll("form[data-passkey-create]")) {
  const options = JSON.parse(form.dataset.passkeyCreate);
  if (!supported(options.rp.id)) continue;
  for (const text of document.querySelectorAll("[data-passkey-unsupported]")) text.hidden = true;
  form.hidden = false;
  form.querySelector("button").addEventListener("click", async (event) => {
    if (form.elements.credential.value || !form.reportValidity()) return;
    event.preventDefault();
    try {
      const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
      send(form, await navigator.credentials.create({ publicKey }));
    } catch (error) {
      complain(form, error);
    }
  });
}

// Tell the browser's password managers what is registered here, so that they forget removed passkeys (Signal API).
const signal = (name, values) => PublicKeyCredential[name]?.(values).catch(() => {});
for (const element of document.querySelectorAll("[data-passkeys-known]")) {
  const known = JSON.parse(element.dataset.passkeysKnown);
  if (!supported(known.rpId) || known.userId === null) continue;
  const { rpId, userId, allAcceptedCredentialIds, name, displayName } = known;
  signal("signalAllAcceptedCredentials", { rpId, userId, allAcceptedCredentialIds });
  signal("signalCurrentUserDetails", { rpId, userId, name, displayName });
}
for (const element of document.querySelectorAll("[data-passkey-unknown]")) {
  const unknown = JSON.parse(element.dataset.passkeyUnknown);
  if (supported(unknown.rpId)) signal("signalUnknownCredential", unknown);
}
