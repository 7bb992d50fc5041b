// The same in a worker, where there is no <img>.
import { filesThatDiffer } from './pixels.ts';

addEventListener('message', async () => {
  postMessage(await filesThatDiffer('Blob').catch((error: unknown) => ({ worker: String(error) })));
});
