/** Restores maps that the worker has sent. A page loads this file with the first such map. */
import { PatchMap } from '../tasks/patchMap.js';

/** The class with which `receive` of remote.ts restores a map. */
export class ReceivedPatchMap {
  constructor({ rows, cols, values }: PatchMap) {
    return new PatchMap(rows, cols, values);
  }
}
