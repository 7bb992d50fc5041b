/** The library's worker, with the large work of the GPU stubbed where the address says so. */
import { stubLargeGpuWork } from './ingest-stub.js';

if (new URL(location.href).searchParams.has('stub')) stubLargeGpuWork();
/** Messages that arrive while the library is loaded wait: it listens when it is there. */
const early: MessageEvent[] = [];
const keep = (event: MessageEvent): void => void early.push(event);
addEventListener('message', keep);
await import('../src/worker/thread.js');
removeEventListener('message', keep);
for (const { data } of early) dispatchEvent(new MessageEvent('message', { data }));
