// Child process of read.firefox.test.ts: runs one forward in Node, on Dawn with TEST_ADAPTER, for every
// message.
import { installWebGpu } from '../../bench/adapter.mjs';
import { source } from '../../bench/load-source.mjs';
import { pollLessOften } from '../../scripts/software-gpu.mjs';

pollLessOften(); // Dawn's busy polling would take a core from the driver
await installWebGpu(process.env.TEST_ADAPTER ?? 'any');
const { loadForward } = await source('test/firefox/read.ts');
const { run } = await loadForward();
const { description, vendor } = (await navigator.gpu.requestAdapter()).info;
process.on('message', async () => process.send(await run()));
process.send(description || vendor);
