// Who answers what a server asks, the same for both TypeScript clients.
export const CAPABILITIES = {
  elicitation: { form: {}, url: {} },
  sampling: { tools: {} },
  roots: { listChanged: true },
};

const text = (text) => ({ type: 'text', text });

// The last block of the last message.
const latest = ({ messages }) => [messages.at(-1).content].flat().at(-1);

export class Person {
  // What was asked since the last step, and how elicitations are answered.
  questions = [];
  action = 'accept';

  elicit(params) {
    this.questions.push({ method: 'elicitation/create', ...params });
    if (this.action !== 'accept' || params.mode === 'url') return { action: this.action };
    const { properties, required = [] } = params.requestedSchema;
    // What has no default is answered with its own name where it must be, else left out.
    const content = Object.fromEntries(
      Object.entries(properties)
        .filter(([name, field]) => field.default !== undefined || required.includes(name))
        .map(([name, field]) => [name, field.default ?? name]),
    );
    return { action: 'accept', content };
  }

  sample(params) {
    this.questions.push({ method: 'sampling/createMessage', ...params });
    const said = latest(params);
    const answer = { role: 'assistant', model: 'none' };
    if (params.tools && said.type !== 'tool_result') {
      const use = { type: 'tool_use', id: 'use-1', name: 'weather', input: { city: 'Oslo' } };
      return { ...answer, stopReason: 'toolUse', content: [use] };
    }
    const words = said.type === 'tool_result' ? said.content[0].text : said.text;
    return { ...answer, stopReason: 'endTurn', content: text(`you said ${words}`) };
  }

  roots() {
    this.questions.push({ method: 'roots/list' });
    return { roots: [{ uri: 'file:///project', name: 'project' }] };
  }
}
