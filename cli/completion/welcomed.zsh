#compdef welcomed

_welcomed() {
    local line paths='' tab=$'\t'
    local -a candidates
    while IFS= read -r line; do
        if [[ -z $paths ]]; then
            paths=${line:-none}
        else
            candidates+=("${${line%%$tab*}//:/\\:}:${line#*$tab}")
        fi
    done < <("${(Q)words[1]/#\~/$HOME}" completion words "${(@Q)words[2,CURRENT]}" 2>/dev/null)

    (( ${#candidates} )) && _describe welcomed candidates
    case $paths in
    files) compset -P '--*='; _files ;;
    directories) compset -P '--*='; _files -/ ;;
    esac
}

if [[ ${funcstack[1]} == _welcomed ]]; then
    _welcomed "$@"
else
    compdef _welcomed welcomed
fi
