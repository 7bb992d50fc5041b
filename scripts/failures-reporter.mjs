// A Vitest reporter that writes down what failed, by name and message, into the file TEST_FAILURES: of a long
// log its end is what is kept, and .ci/run says there again what this file holds. An error outside any test
// (an unhandled rejection) is a failure too.
import { appendFileSync } from 'node:fs';
import { stripVTControlCharacters } from 'node:util';

const LINES = 24; // a message, where, and what was expected and found
const COLUMNS = 300;

export default class FailuresReporter {
  onTestRunEnd(testModules, unhandledErrors) {
    const file = process.env.TEST_FAILURES;
    if (!file) return;
    const entries = unhandledErrors.map((error) => entry('(outside any test)', [error]));
    for (const testModule of testModules) {
      if (testModule.errors().length > 0)
        entries.push(entry(`${testModule.relativeModuleId}: (the file itself)`, testModule.errors()));
      for (const suite of testModule.children.allSuites()) {
        if (suite.errors().length > 0)
          entries.push(
            entry(`${testModule.relativeModuleId}: ${suite.fullName} (its hooks)`, suite.errors()),
          );
      }
      for (const test of testModule.children.allTests('failed')) {
        const ms = Math.round(test.diagnostic()?.duration ?? 0);
        entries.push(
          entry(`${testModule.relativeModuleId}: ${test.fullName} (${ms} ms)`, test.result().errors ?? []),
        );
      }
    }
    appendFileSync(file, entries.join(''));
  }
}

function entry(name, errors) {
  const text = errors
    .map(
      ({ message, stack, diff }) =>
        `${stack?.includes(message) ? stack : `${message}\n${stack ?? ''}`}\n${diff ?? ''}`,
    )
    .join('\n');
  const lines = stripVTControlCharacters(text)
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.includes('node_modules'));
  return `${name}\n${lines
    .slice(0, LINES)
    .map((line) => `    ${line.slice(0, COLUMNS)}\n`)
    .join('')}`;
}
