/** Kills a browser repeatedly while it writes to an index, and checks the index after each restart. */
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { droppedBytes, kill, makeProfile } from '../../loading/browser.ts';
import { Random } from '../../random.ts';
import { launch, openPage, type Here, type StoreSite } from './browser.ts';
import { isPart, isSame, operationsUntil, type State } from './operations.ts';

const NAME = 'killed';
/** Longest time in ms from the first commit after a start to the kill. */
const LIFE_MS = 250;
/**
 * One in this many kills also deletes the database. Chromium itself deletes databases torn by a kill, about
 * once in 100 kills.
 */
const TAKEN_EVERY = 10;
/**
 * One in this many kills also deletes a file. Chromium itself loses files after some kills (see
 * droppedBytes). The index must then name the lost items and keep the others.
 */
const LOST_EVERY = 10;

/**
 * Kills and restarts a browser `kills` times. After each restart every acknowledged change must be stored, no
 * commit may be partial, all bytes must be right, and no file may be unreferenced.
 */
export async function survive(site: StoreSite, kills: number, seed: number): Promise<void> {
  const profile = makeProfile();
  const random = new Random(seed);
  let state: State = {};
  let acknowledged = 0;
  let commits = 0;
  let unheard = 0;
  let restored = 0;
  let taken = false;
  let lost = false;
  let losses = 0;
  try {
    for (let life = 0; life <= kills; life++) {
      const context = await launch(profile);
      let count = 0;
      let begun = (): void => undefined;
      const beginning = new Promise<void>((resolve) => (begun = resolve));
      await context.exposeFunction('acknowledge', (n: number) => {
        count = n;
        begun();
      });
      const page = await openPage(context, site, context.pages()[0]);
      const look = (repair: boolean) =>
        page.evaluate(
          async ([name, before, drop]) => {
            const { store } = globalThis as unknown as Here;
            const journal = await store.openJournal(name, store.header, drop ? { repair: 'drop' } : {});
            Object.assign(globalThis, { journal });
            return {
              restored: journal.restored,
              dropped: journal.dropped.length,
              ...(await store.inspect(journal, name, before || journal.restored)),
            };
          },
          [NAME, restored > 0, repair] as const,
        );
      let complete = true;
      const found = await look(false).catch((error: unknown) => {
        if (!lost && droppedBytes(profile.folder) === 0) throw error;
        expect(String(error), `after ${life} kills`).toMatch(
          /IndexError: index "killed": the stored index is damaged/,
        );
        complete = false;
        losses += 1;
        return look(true);
      });
      expect(found, `after ${life} kills`).toMatchObject({
        faults: [],
        orphans: [],
        missing: [],
        ...(taken && { restored: true }),
      });
      const isIt = (complete ? isSame : isPart)(found.state);
      let made = life === 0 ? 0 : operationsUntil(life - 1, state, acknowledged, isIt);
      if (made === undefined && found.restored && (lost || droppedBytes(profile.folder) > 0)) {
        // Both the database and some of the newest files are lost. Then only `restored` can report the loss,
        // and the remaining items must be intact.
        losses += 1;
        made = acknowledged;
      }
      if (made === undefined)
        throw new Error(
          `after ${life} kills: ${acknowledged} commits were acknowledged, but the items match no state after ${acknowledged} or more commits`,
        );
      commits += made;
      unheard += made - acknowledged;
      if (found.restored) restored += 1;
      state = found.state;
      if (life === kills) {
        await context.close();
        break;
      }
      const working = page
        .evaluate(
          ([current, begin]) => {
            const { store, journal, acknowledge } = globalThis as unknown as Here & {
              journal: Awaited<ReturnType<Here['store']['openJournal']>>;
              acknowledge: (count: number) => Promise<void>;
            };
            return store.work(journal, current, begin, acknowledge);
          },
          [life, state] as const,
        )
        .then(
          () => 'ended',
          () => 'killed',
        );
      await beginning;
      await new Promise((resolve) => setTimeout(resolve, random.next() * LIFE_MS));
      kill(profile);
      expect(await working).toBe('killed');
      acknowledged = count;
      await context.close().catch(() => undefined); // its processes are gone already
      taken = life % TAKEN_EVERY === 3;
      if (taken) rmSync(join(profile.folder, 'Default', 'IndexedDB'), { recursive: true, maxRetries: 5 });
      lost = life % LOST_EVERY === 7;
      if (lost) loseFile(profile.folder);
    }
    if (kills > 2 * LOST_EVERY) expect(losses).toBeGreaterThan(1); // sometimes the deleted file belongs to no commit, so not every deletion is a loss
    console.log(
      `killed ${kills} times in ${commits} commits (${unheard} stored before they were acknowledged; ${restored} times a lost database was rebuilt; ${losses} times files were lost): no other loss, no partial commit, no unreferenced file; ${Object.keys(state).length} items at the end`,
    );
  } catch (error) {
    kill(profile); // the profile folder stays for inspection
    throw error;
  }
  profile.remove();
}

/** Deletes the largest stored file of the profile. */
function loseFile(folder: string): void {
  const root = join(folder, 'Default', 'File System');
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((path) => /\d+$/.test(path))
    .map((path) => join(root, path))
    .filter((path) => statSync(path).isFile());
  const sizes = files.map((path) => statSync(path).size);
  rmSync(files[sizes.indexOf(Math.max(...sizes))]!);
}
