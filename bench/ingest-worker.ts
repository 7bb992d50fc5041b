/**
 * The library's worker. With `?stub` in its URL, the GPU work on whole photographs (copying, uploading,
 * resizing) is replaced by stubs.
 */
import { stubLargeGpuWork } from './ingest-stub.js';

if (new URL(location.href).searchParams.has('stub')) stubLargeGpuWork();
/** Messages that arrive before the library has loaded. They are dispatched again when it has loaded. */
const early: MessageEvent[] = [];
const keep = (event: MessageEvent): void => void early.push(event);
addEventListener('message', keep);
await import('../src/worker/thread.js');
removeEventListener('message', keep);
for (const { data } of early) dispatchEvent(new MessageEvent('message', { data }));
