// A Vitest reporter that writes the names and messages of failed tests to the file TEST_FAILURES. .ci/run
// prints this file at the end of its log, because only the end of a long log is kept. An error outside any
// test, such as an unhandled rejection, is a failure too.
import { appendFileSync } from 'node:fs';
import { stripVTControlCharacters } from 'node:util';

const LINES = 24; // lines for each failure: enough for the message, its location and the difference
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
