/** `node check-package.mjs TARBALL`: what publint and "are the types wrong" say of a packed package, a JSON list of problems. */
import { readFileSync } from 'node:fs';
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';

const data = readFileSync(process.argv[2]);

const tarball = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
const { messages, pkg } = await publint({ pack: { tarball }, strict: true });
const published = messages.map((message) => `publint: ${formatMessage(message, pkg, { color: false })}`);

const types = await checkPackage(createPackageFromTarballData(data));
const problems = types.types === false ? [{ kind: 'NoTypes' }] : types.problems;
const typed = problems.map((problem) => `types: ${JSON.stringify(problem)}`);

console.log(JSON.stringify([...published, ...typed]));
