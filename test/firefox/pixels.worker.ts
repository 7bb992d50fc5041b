// Runs the image comparisons of pixels.ts in a worker, where there is no <img>.
import { awkwardFilesThatDiffer, filesThatDiffer } from './pixels.ts';

addEventListener('message', async ({ data }: MessageEvent<RegExp | 'files'>) => {
  postMessage(
    await (data === 'files' ? filesThatDiffer('Blob') : awkwardFilesThatDiffer(data)).catch(
      (error: unknown) => ({ worker: String(error) }),
    ),
  );
});
