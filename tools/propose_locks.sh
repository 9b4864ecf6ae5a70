#!/bin/sh
# Push renewed locks to BRANCH, and open a pull request if there is none. The last step of the workflow Locks runs this.
set -eu

git add --all data locks
if git diff --cached --quiet; then
    echo "Every lock is up to date."
    exit 0
fi
git config user.name "github-actions[bot]"
git config user.email "41898282+github-actions[bot]@users.noreply.github.com" # as .github/renovate.json names it
git checkout --quiet -B "$BRANCH"
git commit --quiet --message "build: renew the locks of the projects"
git push --force-with-lease origin "HEAD:refs/heads/$BRANCH"
if [ "$(gh pr list --head "$BRANCH" --state open --json number --jq length)" = 0 ]; then
    gh pr create --head "$BRANCH" --fill
fi
