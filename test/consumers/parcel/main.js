import { run } from './run.js';

// The worker that Parcel bundles does not find its parts, so the build copies the library's own files.
const workerUrl = new URL('dinov2-webgpu/worker-thread.js', document.baseURI);
void run((name, text) => (document.getElementById(name).textContent = text), { workerUrl });
