import { caught } from '../__fixtures__/caught.js';
import { temporaryFolder } from '../__fixtures__/temporary-folder.js';
import { readRows } from './rows.js';

const folder = temporaryFolder();
const fields = async (path: string, limit?: number) => (await readRows(path, limit)).map((row) => row.fields);

test('JSONL is read line by line, with blank lines, CRLF, a byte order mark and a last line without newline', async () => {
  const path = folder.write('a.jsonl', '\ufeff{"a":1}\r\n\n{"a":"x\u2028y"}\n{"a":3}');
  expect(await fields(path)).toEqual([{ a: 1 }, { a: 'x\u2028y' }, { a: 3 }]);
  expect((await readRows(path)).map((row) => row.line)).toEqual([1, 3, 4]);
});

test('rows that span read chunks are whole', async () => {
  const long = 'é'.repeat(300_000);
  expect(await fields(folder.writeRows('long.jsonl', [{ a: long }, { b: long }]))).toEqual([{ a: long }, { b: long }]);
});

test('a JSON array is read', async () => {
  expect(await fields(folder.write('a.json', '[{"a":1},{"a":2}]'))).toEqual([{ a: 1 }, { a: 2 }]);
});

test('a limit takes rows from the top and does not read on', async () => {
  expect(await fields(folder.write('limit.jsonl', '{"a":1}\n{"a":2}\nbroken\n'), 2)).toEqual([{ a: 1 }, { a: 2 }]);
});

test('a bad line is named by file and line', async () => {
  const path = folder.write('bad.jsonl', '{"a":1}\n\n{"a":\n');
  const error = await caught(() => readRows(path));
  expect(error).toMatchObject({ code: 'data-invalid', facts: { file: path, line: 3 } });
  expect(error.message.startsWith(`${path}:3: not a JSON object`)).toBe(true);
});

test('a row that is no object is an error', async () => {
  const path = folder.write('array.jsonl', '{"a":1}\n[1]\n');
  expect((await caught(() => readRows(path))).message).toContain('array.jsonl:2: a row must be a JSON object');
});

test('a syntax error in a JSON array is named by its line', async () => {
  const path = folder.write('bad.json', '[\n{"a":1},\n{"a" 2}\n]');
  expect((await caught(() => readRows(path))).message).toContain('bad.json:3: not JSON');
});

test('a JSON object instead of an array is an error', async () => {
  expect((await caught(() => readRows(folder.write('object.json', '{}')))).message).toContain('must be one array');
});

test('bytes that are not UTF-8 are named by their line', async () => {
  const path = folder.write('latin.jsonl', Buffer.from('{"a":1}\n{"a":"\xe9"}\n', 'latin1'));
  expect((await caught(() => readRows(path))).message).toBe(`${path}:2: not UTF-8; save the file in UTF-8`);
});

test('an empty file is an error', async () => {
  expect((await caught(() => readRows(folder.write('empty.jsonl', '\n\n')))).code).toBe('data-empty');
});

test('a missing file is an error with the nearest name', async () => {
  folder.writeRows('alpaca.jsonl', [{}]);
  const error = await caught(() => readRows(`${folder.path}/alpacca.jsonl`));
  expect(error.code).toBe('file-missing');
  expect(error.message).toContain('did you mean "alpaca.jsonl"?');
});

test('a format that is not read is an error with a remedy', async () => {
  expect((await caught(() => readRows(folder.write('a.parquet', 'PAR1')))).message).toContain('convert it to JSONL');
});
