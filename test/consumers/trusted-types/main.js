import { run } from './run.js';

// The library starts its worker by its address. With Trusted Types, the browser asks this policy first.
globalThis.trustedTypes?.createPolicy('default', {
  createScriptURL(address) {
    if (new URL(address, location.href).origin === location.origin) return address;
    throw new TypeError(`${address} is not a script of this site.`);
  },
});

void run((name, text) => (document.getElementById(name).textContent = text));
