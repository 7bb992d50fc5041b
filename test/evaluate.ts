/**
 * Corrects a false report of Chromium. While a test waits for a promise of the page, Chromium's inspector
 * holds that promise weakly. If the garbage collector runs in the moment between the promise's resolution and
 * the inspector's own reaction to it, Chromium reports `Promise was collected` although there is a value. V8
 * has since changed this (change 8123081). A promise that nothing can resolve any more gives the same report,
 * and that report is right: such a call would wait for ever.
 */
import type { BrowserContext, Page } from 'playwright';

const COLLECTED = /Resulting promise was garbage collected/;

type Evaluate = (pageFunction: unknown, argument?: unknown) => Promise<unknown>;

/** What a function of `page.evaluate` returned, or the error that it threw. */
interface Outcome {
  readonly value?: unknown;
  readonly error?: string;
}

/**
 * Makes `page.evaluate` of a context's pages return the value of each promise that was resolved, also if
 * Chromium reports the promise as collected.
 */
export function correctEvaluate(context: BrowserContext): void {
  for (const page of context.pages()) correct(page);
  context.on('page', correct);
}

/**
 * The page keeps the outcome of a call, but not its promise, so an unreachable promise is still collected and
 * reported. The outcome is kept until the page's next call.
 */
function correct(page: Page): void {
  const evaluate = page.evaluate.bind(page) as Evaluate;
  let calls = 0;
  let ended: number[] = [];
  const corrected: Evaluate = async (pageFunction, argument) => {
    if (typeof pageFunction !== 'function') return evaluate(pageFunction, argument);
    const call = ++calls;
    const source = `(argument) => {
      const outcomes = (globalThis.evaluateOutcomes ??= new Map());
      for (const call of ${JSON.stringify(ended)}) outcomes.delete(call);
      const answer = (${String(pageFunction)})(argument);
      if (answer instanceof Promise)
        answer.then(
          (value) => outcomes.set(${call}, { value }),
          (error) => outcomes.set(${call}, { error: String(error) }),
        );
      return answer;
    }`;
    ended = [];
    try {
      // Playwright sends the text of the function to the page.
      return await evaluate(
        Object.assign(() => undefined, { toString: () => source }),
        argument,
      );
    } catch (error) {
      if (!COLLECTED.test(String(error))) throw error;
      const outcome = (await evaluate(`globalThis.evaluateOutcomes?.get(${call})`)) as Outcome | undefined;
      if (!outcome) throw error;
      if (outcome.error !== undefined) throw new Error(`page.evaluate: ${outcome.error}`);
      return outcome.value;
    } finally {
      ended.push(call);
    }
  };
  page.evaluate = corrected as Page['evaluate'];
}
