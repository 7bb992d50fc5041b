/** Kills a browser in mid-work, again and again, and looks at what it has left. */
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { droppedBytes, kill, makeProfile } from '../../loading/browser.ts';
import { Random } from '../../random.ts';
import { launch, openPage, type Here, type StoreSite } from './browser.ts';
import { isPart, isSame, operationsUntil, type State } from './operations.ts';

const NAME = 'killed';
/** From the first commit of a life to its end, at most. */
const LIFE_MS = 250;
/**
 * Chromium itself deletes databases that a kill has torn, about once in 100 kills; here it happens for
 * certain.
 */
const TAKEN_EVERY = 10;
/**
 * Chromium itself has lost files after some kills (see droppedBytes), and the index must say so, by the ids
 * of their items, and go on with the others. Here it happens for certain.
 */
const LOST_EVERY = 10;

/**
 * After every kill: no acknowledged change is lost, no commit is there in part, every byte is right, and no
 * file is nobody's.
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
        // The database is gone, and files that were newer than the others: `restored` is all that can be
        // said, and what is there is whole.
        losses += 1;
        made = acknowledged;
      }
      if (made === undefined)
        throw new Error(
          `after ${life} kills: ${acknowledged} commits were acknowledged, and the items are those of no ${acknowledged} or more`,
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
      await context.close().catch(() => undefined); // there is nobody left
      taken = life % TAKEN_EVERY === 3;
      if (taken) rmSync(join(profile.folder, 'Default', 'IndexedDB'), { recursive: true, maxRetries: 5 });
      lost = life % LOST_EVERY === 7;
      if (lost) loseFile(profile.folder);
    }
    if (kills > 2 * LOST_EVERY) expect(losses).toBeGreaterThan(1); // now and then the largest file is one that no commit has
    console.log(
      `killed ${kills} times in ${commits} commits (${unheard} were in, and not yet acknowledged; ${restored} times the database was lost, and made anew; ${losses} times the browser had lost files): nothing else lost, nothing torn, nothing left over; ${Object.keys(state).length} items at the end`,
    );
  } catch (error) {
    kill(profile); // its folder stays for whoever wants to look
    throw error;
  }
  profile.remove();
}

/** Takes the largest of the origin's files away. */
function loseFile(folder: string): void {
  const root = join(folder, 'Default', 'File System');
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((path) => /\d+$/.test(path))
    .map((path) => join(root, path))
    .filter((path) => statSync(path).isFile());
  const sizes = files.map((path) => statSync(path).size);
  rmSync(files[sizes.indexOf(Math.max(...sizes))]!);
}
