import { Template as Jinja } from '@huggingface/jinja';
import { LftError } from '@lft/core';
import { z } from 'zod';
import { type Row, rowError } from '../files/row.js';
import type { Tokenizer } from '../tokenizer.js';
import { optionalText, requiredText, unknownFields } from './fields.js';
import type { Rendered, RenderedPart, Template } from './template.js';

/** One turn; further keys go to the chat template as they are. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
  readonly [key: string]: unknown;
}

const messagesSchema = z.array(z.looseObject({ role: z.string().min(1), content: z.string() })).min(1);
const historySchema = z.array(z.tuple([z.string(), z.string()]));

const EXPECTED =
  'messages: [{ role, content }, …]; or instruction, output and, if there are, input and history: [[question, answer], …]; or prompt and completion | response | answer';

/** A conversation to text. */
export type ChatRenderer = (messages: readonly ChatMessage[], options?: { addGenerationPrompt?: boolean }) => string;

/**
 * The chat template of a tokenizer, or the one given.
 * @param template Jinja text with Hugging Face's variables: messages, add_generation_prompt, bos_token, eos_token, …
 * @throws LftError options-invalid when there is none, or it is no Jinja
 */
export function chatRenderer(
  tokenizer: Pick<Tokenizer, 'chatTemplate' | 'specialTokens' | 'source'>,
  template = tokenizer.chatTemplate,
): ChatRenderer {
  if (template === undefined) {
    throw new LftError(
      'options-invalid',
      `the tokenizer of ${tokenizer.source} has no chat template (chat_template.jinja or chat_template in tokenizer_config.json); give one with the option chatTemplate, or use template alpaca or plain`,
      { source: tokenizer.source },
    );
  }
  let jinja: Jinja;
  try {
    jinja = new Jinja(template);
  } catch (error) {
    throw new LftError(
      'options-invalid',
      `the chat template is no Jinja: ${(error as Error).message}`,
      {},
      { cause: error },
    );
  }
  return (messages, { addGenerationPrompt = false } = {}) =>
    jinja.render({ ...tokenizer.specialTokens, messages, add_generation_prompt: addGenerationPrompt });
}

/**
 * Rows of messages through a chat template; learned is what the model writes, that is, each assistant turn's content and the token
 * that ends it. The spans are found by rendering the conversation up to each turn, as it is given to the model when it answers.
 */
export function chat(render: ChatRenderer, specialTexts: readonly string[]): Template {
  return (row) => {
    const messages = conversation(row);
    if (!messages.some((message) => message.role === 'assistant')) {
      const roles = [...new Set(messages.map((message) => message.role))].join(', ');
      throw rowError(row, `there is no turn with role "assistant" to learn; the roles are ${roles}`);
    }
    const rendered = (count: number, addGenerationPrompt: boolean) => {
      try {
        return render(messages.slice(0, count), { addGenerationPrompt });
      } catch (error) {
        throw rowError(row, `the chat template refuses the conversation: ${(error as Error).message}`, error);
      }
    };
    const whole = rendered(messages.length, false);
    const parts: RenderedPart[] = [];
    let done = 0;
    const add = (upTo: number, learned: boolean) => {
      if (upTo > done) parts.push({ text: whole.slice(done, upTo), learned });
      done = Math.max(done, upTo);
    };
    messages.forEach((message, i) => {
      if (message.role !== 'assistant') return;
      const turn = rendered(i + 1, false);
      // A template without a generation prompt writes the turn's header as part of the turn.
      const before = (i > 0 ? [rendered(i, true), rendered(i, false)] : ['']).find((text) => turn.startsWith(text));
      if (before === undefined || !whole.startsWith(turn) || before.length < done) {
        throw rowError(
          row,
          `the chat template writes turn ${i + 1} differently when more turns follow, so that what the model writes can't be told apart; give a simpler one with the option chatTemplate`,
        );
      }
      add(before.length, false);
      add(before.length + endOfTurn(turn.slice(before.length), specialTexts), true);
    });
    add(whole.length, false);
    return { parts, delimiters: false } satisfies Rendered;
  };
}

/** Length of a turn up to its closing special token: the blanks that a template puts after it are never generated. */
function endOfTurn(turn: string, specialTexts: readonly string[]): number {
  const trimmed = turn.trimEnd();
  return specialTexts.some((text) => trimmed.endsWith(text)) ? trimmed.length : turn.length;
}

function conversation(row: Row): ChatMessage[] {
  const { fields } = row;
  if ('messages' in fields) {
    const parsed = messagesSchema.safeParse(fields.messages);
    if (parsed.success) return parsed.data;
    const issue = parsed.error.issues[0];
    throw rowError(row, `${['messages', ...(issue?.path ?? [])].join('.')}: ${issue?.message}; expected ${EXPECTED}`);
  }
  if ('instruction' in fields) {
    const history = historySchema.safeParse(fields.history ?? []);
    if (!history.success) throw rowError(row, `history must be [[question, answer], …]; expected ${EXPECTED}`);
    const question = [requiredText(row, 'instruction', EXPECTED), optionalText(row, 'input')]
      .filter(Boolean)
      .join('\n');
    return [...history.data, [question, requiredText(row, 'output', EXPECTED)] as const].flatMap(
      ([asked, answered]) => [
        { role: 'user', content: asked },
        { role: 'assistant', content: answered },
      ],
    );
  }
  const response = ['completion', 'response', 'answer'].find((field) => field in fields);
  if ('prompt' in fields && response !== undefined) {
    return [
      { role: 'user', content: requiredText(row, 'prompt', EXPECTED) },
      { role: 'assistant', content: requiredText(row, response, EXPECTED) },
    ];
  }
  throw unknownFields(row, EXPECTED);
}
