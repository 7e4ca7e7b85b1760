// Asked for a token, where the API answers 401.

import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { login } from "./api.js";

export function Login({ onEnter }) {
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const input = useRef(null);
  useEffect(() => {
    document.title = "Log in · spanserve";
    input.current.focus();
  }, []);
  const send = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await login(input.current.value);
      onEnter();
    } catch (failure) {
      setError(failure);
      setBusy(false);
      input.current.select();
    }
  };
  return html`<main class="login">
    <form method="post" action="login" onSubmit=${send}>
      <h1>Traces</h1>
      <label for="token">Token</label>
      <input
        ref=${input}
        id="token"
        name="token"
        type="password"
        autocomplete="current-password"
        required
        aria-describedby="token-help"
        aria-invalid=${error ? "true" : undefined}
      />
      <p id="token-help" class="muted">What <code>tracing.local.token</code> of the server is.</p>
      ${error && html`<p class="failed" role="alert">${error.message}</p>`}
      <button type="submit" class="primary" disabled=${busy}>Log in</button>
    </form>
  </main>`;
}
