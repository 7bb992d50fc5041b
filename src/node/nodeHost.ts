/** What Node provides to the library in place of a browser. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Host } from '../platform/host.js';
import { cacheFolder, folderStore } from './cacheFolder.js';
import { decodeWithSharp } from './decoder.js';
import { withFileLock } from './fileLock.js';
import { requestNodeAdapter } from './gpu.js';
import { handlesAt } from './handles.js';
import { loadFromHub } from './hub.js';
import { openFolder } from './index/folderJournal.js';
import { fetchInSteps } from './redirects.js';

export const nodeHost: Host = {
  adapter: requestNodeAdapter,
  decode: decodeWithSharp,
  fetch: fetchInSteps,
  openStore: () => folderStore(),
  async lock(name, signal, task) {
    const folder = join(cacheFolder(), 'locks');
    await mkdir(folder, { recursive: true });
    return withFileLock(join(folder, name.replaceAll(/[^\w-]+/g, '-')), signal, task);
  },
  openFolder,
  handlesAt,
  pretrained: (id, options, load) => loadFromHub(id, options, load),
};
