// What tests ask a page: each function takes one argument, and returns what is JSON.
({
  // What text of the store has become where it is no text: elements, attributes, addresses, calls.
  markup(mark) {
    const addresses = ['href', 'src', 'action', 'formaction', 'hx-get', 'hx-post', 'xlink:href'];
    const forbidden = ['iframe', 'base', 'object', 'embed', 'style'];
    const isWrong = each => {
      const names = each.getAttributeNames();
      return each.localName.startsWith(mark) || forbidden.includes(each.localName)
        || names.some(name => name === mark || name.startsWith('on') || name === 'srcdoc')
        || addresses.some(name => /^\s*(javascript|data|vbscript):/i.test(each.getAttribute(name) || ''));
    };
    const found = [...document.querySelectorAll('*')].filter(isWrong);
    return found.map(each => 'markup: ' + each.outerHTML.slice(0, 200))
      .concat((window.__trapped || []).map(call => 'called: ' + call));
  },

  // Text with characters that nobody sees, and that turn around or control what stands beside them.
  hidden() {
    const isHidden = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]/;
    const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
    const found = isHidden.test(document.title) ? ['title: ' + JSON.stringify(document.title)] : [];
    while (walker.nextNode()) {
      const text = walker.currentNode.data;
      if (isHidden.test(text)) found.push(`${walker.currentNode.parentElement.localName}: ${JSON.stringify(text.slice(0, 100))}`);
    }
    for (const each of document.querySelectorAll('[title], [aria-label], [alt]'))
      for (const name of ['title', 'aria-label', 'alt'])
        if (isHidden.test(each.getAttribute(name) || '')) found.push(`${each.localName} ${name}`);
    return found;
  },

  // What axe, which is loaded already, finds wrong by WCAG 2.1 A and AA and its best practices.
  async axe() {
    const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'];
    const found = await axe.run(document, {resultTypes: ['violations'], runOnly: {type: 'tag', values: tags}});
    const told = node => [node.target.join(' '), node.html.slice(0, 120), ...node.any.map(each => each.message)];
    return found.violations.map(each =>
      `${each.id}: ${each.help} at ${each.nodes.slice(0, 4).map(node => told(node).join(' ')).join(' | ')}`);
  },

  // What is wider than the window, if one has to scroll the page sideways.
  overflow() {
    const wide = document.documentElement.clientWidth;
    if (Math.max(document.documentElement.scrollWidth, document.body.scrollWidth) <= wide) return [];
    const scrolls = each => {
      for (let up = each.parentElement; up && up !== document.body; up = up.parentElement)
        if (/auto|scroll|hidden|clip/.test(getComputedStyle(up).overflowX)) return true;
      return false;
    };
    const found = [...document.body.querySelectorAll('*')]
      .filter(each => each.getBoundingClientRect().right > wide + 1 && !scrolls(each));
    const told = each => `${each.localName}.${each.getAttribute('class')} ${each.textContent.trim().slice(0, 40)}`;
    return [`wider than ${wide}`, ...found.slice(-6).map(told)];
  },

  // What moves, if only for a moment.
  moving() {
    const seconds = text => Math.max(...text.split(',').map(each => parseFloat(each) * (each.includes('ms') ? 1e-3 : 1)));
    const isMoving = each => {
      const style = getComputedStyle(each);
      return seconds(style.transitionDuration) > 0.01
        || style.animationName !== 'none' && seconds(style.animationDuration) > 0.01;
    };
    return [...document.querySelectorAll('*')].filter(isMoving).map(each => each.outerHTML.slice(0, 80));
  },

  // All that the page leads to, as absolute addresses without fragments: links, forms by GET, resources.
  links() {
    const target = form => new URL(form.getAttribute('action') || '', location.href).href;
    const isGet = form => (form.getAttribute('method') || 'get').toLowerCase() === 'get';
    const address = each => new URL(each.getAttribute('href'), document.baseURI).href;  // of SVG as well
    const all = [...document.querySelectorAll('a[href], link[href]')].map(address)
      .concat([...document.querySelectorAll('form')].filter(isGet).map(target))
      .concat([...document.querySelectorAll('[src]')].map(each => each.src));
    return [...new Set(all.map(each => each.split('#')[0]))];
  },

  // Where the forms of the page send by POST.
  forms() {
    const isPost = form => (form.getAttribute('method') || '').toLowerCase() === 'post';
    const target = form => new URL(form.getAttribute('action') || '', location.href).href;
    return [...document.querySelectorAll('form')].filter(isPost).map(target);
  },
})
