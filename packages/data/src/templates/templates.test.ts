import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { caught } from '../__fixtures__/caught.js';
import { type Row, toRow } from '../files/row.js';
import { alpaca } from './alpaca.js';
import { chat, chatRenderer } from './chat.js';
import { custom, customName } from './custom.js';
import { plain } from './plain.js';
import type { Rendered } from './template.js';

const row = (fields: object): Row => toRow('f.jsonl', 7, 'f.jsonl:7', fields);
const joined = (rendered: Rendered) => rendered.parts.map((part) => part.text).join('');
const learned = (rendered: Rendered) => rendered.parts.filter((part) => part.learned).map((part) => part.text);

describe('alpaca', () => {
  test('without input, byte for byte', () => {
    expect(joined(alpaca(row({ instruction: 'Say hi.', input: '', output: 'Hi!' })))).toBe(
      'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nSay hi.\n\n### Response:Hi!',
    );
  });

  test('with input, byte for byte', () => {
    expect(joined(alpaca(row({ instruction: 'Add.', input: '1 2', output: '3', task: 'extra' })))).toBe(
      'Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:3',
    );
  });

  test('the response alone is learned', () => {
    expect(learned(alpaca(row({ instruction: 'Say hi.', output: 'Hi!' })))).toEqual(['Hi!']);
  });

  test('a missing field is an error with file:line, the fields there are and those expected', async () => {
    const error = await caught(() => alpaca(row({ instruction: 'Say hi.', outptu: 'Hi!' })));
    expect(error.code).toBe('data-invalid');
    expect(error.message).toMatch(
      /^f\.jsonl:7: the row has no field "output" \("outptu" looks like it\)\. It has instruction, outptu; expected instruction, output/,
    );
  });

  test('a field that is no text is an error', async () => {
    expect((await caught(() => alpaca(row({ instruction: 3, output: '' })))).message).toBe(
      'f.jsonl:7: field "instruction" must be a string, not 3',
    );
  });

  test('earlier turns are not lost in silence', async () => {
    const turns = row({ instruction: 'b', output: 'c', history: [['a', 'b']] });
    expect((await caught(() => alpaca(turns))).message).toContain('use template chat');
  });
});

describe('plain', () => {
  test.each([
    [{ text: 'all of it' }, 'all of it', ['all of it']],
    [{ prompt: '1+1=', completion: '2' }, '1+1=2', ['2']],
    [{ prompt: '1+1=', response: '2' }, '1+1=2', ['2']],
    [{ instruction: 'Add.', input: '1 2', output: '3' }, 'Add.\n1 2\n3', ['3']],
    [{ instruction: 'Say hi.', output: 'Hi!' }, 'Say hi.\nHi!', ['Hi!']],
  ])('%j', (fields, whole, response) => {
    const rendered = plain(row(fields));
    expect(joined(rendered)).toBe(whole);
    expect(learned(rendered)).toEqual(response);
  });

  test('unknown fields are an error', async () => {
    expect((await caught(() => plain(row({ question: 'a' })))).message).toMatch(
      /^f\.jsonl:7: the row has no fields that the template reads\. It has question; expected text; or prompt/,
    );
  });
});

describe('a template function', () => {
  test('gives prompt and response', () => {
    const rendered = custom((fields) => ({ prompt: `Q: ${fields.q}\nA:`, response: ` ${fields.a}` }))(
      row({ q: 'x', a: 'y' }),
    );
    expect(joined(rendered)).toBe('Q: x\nA: y');
    expect(learned(rendered)).toEqual([' y']);
  });

  test('that throws or gives something else is an error with file:line', async () => {
    const nothing = custom((() => undefined) as never);
    expect((await caught(() => nothing(row({})))).message).toMatch(/^f\.jsonl:7: the template function must return/);
    const failing = custom(() => {
      throw new Error('oops');
    });
    expect((await caught(() => failing(row({})))).message).toBe('f.jsonl:7: the template function failed: oops');
  });

  test('is recorded by its name and source', () => {
    function quiz() {
      return { prompt: '', response: '' };
    }
    expect(customName(quiz)).toMatch(/^function quiz [0-9a-f]{12}$/);
  });
});

describe('chat', () => {
  const jinja = readFileSync(join(__dirname, '../__fixtures__/chatml.jinja'), 'utf8').trimEnd();
  const tokenizer = { source: 'm', chatTemplate: jinja, specialTokens: { eos_token: '</s>' } };
  const render = chatRenderer(tokenizer);
  const template = chat(render, ['<s>', '</s>']);
  const turns = [
    { role: 'user', content: 'Hi' },
    { role: 'assistant', content: 'Hello!' },
    { role: 'user', content: 'Bye' },
    { role: 'assistant', content: 'So long.' },
  ];

  test('the text is that of the chat template', () => {
    const rendered = template(row({ messages: turns }));
    expect(joined(rendered)).toBe(
      '<s>system\nYou are helpful.</s>\n<s>user\nHi</s>\n<s>assistant\nHello!</s>\n<s>user\nBye</s>\n<s>assistant\nSo long.</s>\n',
    );
    expect(rendered.delimiters).toBe(false);
  });

  test('assistant turns are learned, with the token that ends them and not the newline after it', () => {
    expect(learned(template(row({ messages: turns })))).toEqual(['Hello!</s>', 'So long.</s>']);
  });

  test('what stands before a response is the prompt as it is given at generation', () => {
    const [before] = template(row({ messages: turns.slice(0, 2) })).parts;
    expect(before?.text).toBe(render(turns.slice(0, 1), { addGenerationPrompt: true }));
  });

  test('instruction rows with history become turns', () => {
    const rendered = template(
      row({ instruction: 'Bye', input: 'now', output: 'So long.', history: [['Hi', 'Hello!']] }),
    );
    expect(learned(rendered)).toEqual(['Hello!</s>', 'So long.</s>']);
    expect(joined(rendered)).toContain('<s>user\nBye\nnow</s>');
  });

  test('a template without a generation prompt learns the header too', () => {
    const bare = '{% for m in messages %}[{{ m.role }}]{{ m.content }}</s>{% endfor %}';
    const simple = chat(chatRenderer(tokenizer, bare), ['</s>']);
    expect(learned(simple(row({ messages: turns.slice(0, 2) })))).toEqual(['[assistant]Hello!</s>']);
  });

  test('a conversation without assistant is an error', async () => {
    expect((await caught(() => template(row({ messages: turns.slice(0, 1) })))).message).toContain(
      'f.jsonl:7: there is no turn with role "assistant" to learn; the roles are user',
    );
  });

  test('malformed messages are an error with their place', async () => {
    expect((await caught(() => template(row({ messages: [{ role: 'user' }] })))).message).toContain(
      'f.jsonl:7: messages.0.content:',
    );
  });

  test("a template's own exception is given with file:line", async () => {
    const strict = chat(chatRenderer(tokenizer, "{{ raise_exception('roles must alternate') }}"), []);
    expect((await caught(() => strict(row({ messages: turns })))).message).toMatch(
      /^f\.jsonl:7: the chat template refuses the conversation: .*roles must alternate/,
    );
  });

  test('a template that rewrites earlier turns is an error', async () => {
    const last = '{% for m in messages %}{{ m.role }}:{% if loop.last %}{{ m.content }}{% endif %};{% endfor %}';
    const forgetful = chat(chatRenderer(tokenizer, last), []);
    expect((await caught(() => forgetful(row({ messages: turns })))).message).toContain('writes turn 2 differently');
  });

  test('no template at all is an error with the remedy', async () => {
    const error = await caught(() => chatRenderer({ source: 'm', chatTemplate: undefined, specialTokens: {} }));
    expect(error.code).toBe('options-invalid');
    expect(error.message).toContain('give one with the option chatTemplate');
  });
});
