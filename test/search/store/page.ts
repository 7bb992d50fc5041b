/** What runs in the pages of the e2e tests, on the store as it is. */
import type { Change } from '../../../src/search/journal.ts';
import { deleteIndex, folderKey, listIndexes } from '../../../src/search/store/catalogue.ts';
import { openJournal } from '../../../src/search/store/openJournal.ts';
import type { StoredJournal } from '../../../src/search/store/storedJournal.ts';
import { faultOf, header, makeItem, readAll, versionsOf } from './items.ts';
import { operations, type Operation, type State } from './operations.ts';

export const changesOf = (operation: Operation): Change[] =>
  Object.entries(operation).map(([id, version]) =>
    version === null ? { remove: id } : { put: makeItem(id, version) },
  );

/** Names of the files of an index. */
async function files(name: string): Promise<string[]> {
  const names: string[] = [];
  const root = await (await navigator.storage.getDirectory()).getDirectoryHandle('dinov2-webgpu-search');
  for await (const file of (await root.getDirectoryHandle(await folderKey(name))).keys()) names.push(file);
  return names;
}

async function segmentsOf(name: string): Promise<string[]> {
  const db = await new Promise<IDBDatabase>((resolve, reject) => {
    const opening = indexedDB.open(`dinov2-webgpu-search/${name}`);
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error as Error);
  });
  const keys = await new Promise<IDBValidKey[]>((resolve) => {
    const asking = db.transaction('segments').objectStore('segments').getAllKeys();
    asking.onsuccess = () => resolve(asking.result);
  });
  db.close();
  return keys.map(String);
}

/** Everything that is kept of an index, checked. */
async function inspect(
  journal: StoredJournal,
  name: string,
  lost: boolean,
): Promise<{ state: State; faults: string[]; orphans: string[]; missing: string[] }> {
  const items = await readAll(journal.items());
  const faults = items.flatMap((item) => faultOf(item) ?? []);
  for (const { id, metadata } of items.slice(-40)) {
    const kept = await journal.thumbnail(id);
    if (!kept && lost) continue; // thumbnails go with the database
    const thumbnail = new Uint8Array((await kept?.arrayBuffer()) ?? []);
    const right = new Uint8Array(
      await makeItem(id, (metadata as { version: number }).version).thumbnail!.arrayBuffer(),
    );
    if (thumbnail.join() !== right.join()) faults.push(`${id}: thumbnail`);
  }
  const [present, known] = [await files(name), await segmentsOf(name)];
  return {
    state: versionsOf(items),
    faults,
    orphans: present.filter((file) => !known.includes(file)),
    missing: known.filter((file) => !present.includes(file)),
  };
}

/** Commits that nobody may have heard of when the page dies: fewer than operationsUntil() looks for. */
const MOST_UNHEARD = 20;

/** Works until the page dies. @param acknowledge called after each commit; resolves when it was heard */
async function work(
  journal: StoredJournal,
  life: number,
  begin: State,
  acknowledge: (count: number) => Promise<unknown>,
): Promise<void> {
  let count = 0;
  let heard = 0;
  for (const operation of operations(life, begin)) {
    await journal.commit(changesOf(operation));
    const hearing = acknowledge(++count).then(() => heard++);
    if (count - heard >= MOST_UNHEARD) await hearing; // a fast page does not run away from a test that was stopped for a moment
    if (count % 7 === 0) void journal.compact();
  }
}

export const page = {
  openJournal,
  listIndexes,
  deleteIndex,
  header,
  makeItem,
  faultOf,
  readAll,
  versionsOf,
  inspect,
  work,
};
Object.assign(globalThis, { store: page });
