/** Page side of the store's e2e tests: functions that use the store's own code. */
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

/** Names of the segment files of an index. */
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

/** Reads and checks all stored data of an index. */
async function inspect(
  journal: StoredJournal,
  name: string,
  lost: boolean,
): Promise<{ state: State; faults: string[]; orphans: string[]; missing: string[] }> {
  const items = await readAll(journal.items());
  const faults = items.flatMap((item) => faultOf(item) ?? []);
  for (const { id, metadata } of items.slice(-40)) {
    const kept = await journal.thumbnail(id);
    if (!kept && lost) continue; // thumbnails are lost with the database
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

/**
 * Largest number of commits that may be unacknowledged when the page dies. Must be less than
 * operationsUntil() searches.
 */
const MOST_UNHEARD = 20;

/**
 * Commits operations until the page dies.
 * @param acknowledge called after each commit; resolves when the test has received the count
 */
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
    if (count - heard >= MOST_UNHEARD) await hearing; // a fast page waits for a test process that was suspended
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
