"""Textual's application, sooner on the screen: what it would do twice before the first paint is done once."""

from __future__ import annotations

from textual.app import App
from textual.theme import Theme


class QuickApp(App[None], inherit_bindings=False):
    """Parses its style sheets once, generates a theme's variables once."""

    _variables_of: tuple[Theme, dict[str, str]] | None = None

    def get_css_variables(self) -> dict[str, str]:
        """The variables of the theme that is on; kept until another one is."""
        theme = self.current_theme
        if self._variables_of is None or self._variables_of[0] is not theme:
            self._variables_of = (theme, super().get_css_variables())
        return self._variables_of[1]

    def refresh_css(self, animate: bool = True) -> None:
        """Parse the sheets anew; before there is a screen they are left to the parsing that it brings with it."""
        if self.screen_stack:
            super().refresh_css(animate)
        else:
            self.stylesheet.set_variables(self.get_css_variables())
